"""The dashboard of the broker: what it takes, what it keeps, who reads from it."""

from __future__ import annotations

from compose.grafana.expressions import JOB, or_none, or_zero, quantile, rate, rise, selected, total
from compose.grafana.panels import ANY, GREEN, RED, YELLOW, Board, Panel, Query, Row, Variable, stat

PARTS = 'part=~"broker|journal"'
DUPLICATE = 'result="duplicate"'
TAKEN = 'result!="duplicate"'
USED = f"{selected('mycelium_journal_frame_bytes')} / {selected('mycelium_journal_max_bytes')}"
FILLED = ((0.75, YELLOW), (0.8, RED))
"""It removes the oldest at 70 %. MyceliumJournalNearlyFull fires at 80 %."""


LOOK = Row(
    "In one look: is something wrong?",
    (
        stat(
            "At work",
            "Whether broker and journal are at work. If not: /readyz says which, the log says why.",
            f"min({selected('mycelium_ready', PARTS)})",
            words={0: ("not ready", RED), 1: ("ready", GREEN)},
        ),
        stat(
            "Taken",
            "Messages that the broker takes, kept or passed on, per second.",
            total(rate("mycelium_broker_messages_total", TAKEN)),
            unit="mps",
        ),
        stat(
            "Journal used",
            "Frames kept, of what the journal may take. At 70 % the oldest are removed. Above 80 % it does not "
            "get on with that, and at 100 % publishers wait.",
            f"max({USED})",
            unit="percentunit",
            steps=FILLED,
        ),
        stat(
            "Publishers",
            "Whether publishers wait for room. Nothing is lost, and nothing flows: make room on the disk, or raise "
            "journal_bytes.",
            f"max({selected('mycelium_journal_full')})",
            words={0: ("go on", GREEN), 1: ("wait for room", RED)},
        ),
        stat(
            "Furthest behind",
            "Messages that the slowest durable reader has still to read.",
            or_zero(f"max({selected('mycelium_reader_lag_messages')})"),
            steps=((1_000, YELLOW), (10_000, RED)),
        ),
        stat(
            "Refused, last hour",
            "Messages, requests and connections refused. Causes are below; `mycelium ledger` says whom.",
            or_zero(total(rise("mycelium_broker_refused_total"))),
            steps=ANY,
        ),
    ),
)

MESSAGES = Row(
    "What comes in?",
    (
        Panel(
            "Messages, by what became of them",
            "Per second. 'kept': in the journal; 'passed on': of delivery class live; 'duplicate': sent again after a "
            "lost confirm, and left out.",
            (Query(total(rate("mycelium_broker_messages_total"), "result"), "{{result}}"),),
            unit="mps",
            stacked=True,
        ),
        Panel(
            "Duplicates",
            "Of all messages. Some after a reconnect are normal. For long: confirms do not reach a publisher.",
            (
                Query(
                    or_zero(
                        f"{total(rate('mycelium_broker_messages_total', DUPLICATE))}"
                        f" / ({total(rate('mycelium_broker_messages_total'))} > 0)"
                    ),
                    "duplicates",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Refused, by cause",
            "Messages, requests and connections per second. Somebody asks for what the system does not allow, or for "
            "too much: `mycelium ledger` says who.",
            (Query(or_none(total(rate("mycelium_broker_refused_total"), "cause"), "cause"), "{{cause}}"),),
            unit="cps",
        ),
        Panel(
            "Not confirmed yet",
            "Frames that wait to be durable and confirmed. It stays high: the disk is slow, or the journal is full.",
            (Query(selected("mycelium_broker_unconfirmed_frames"), "{{instance}}"),),
        ),
        Panel(
            "Frames appended, and syncs",
            "Per second. Many frames for one message each: publishers send one at a time. Syncs are 0 with "
            "durability 'process'.",
            (
                Query(total(rate("mycelium_journal_appended_frames_total")), "frames"),
                Query(total(rate("mycelium_journal_syncs_total")), "syncs"),
            ),
            unit="cps",
        ),
        Panel(
            "Messages in a frame",
            "How many messages share a frame, on average of those kept. More cost less each.",
            (
                Query(
                    or_zero(
                        f"{total(selected('mycelium_journal_messages'))}"
                        f" / ({total(selected('mycelium_journal_frames'))} > 0)"
                    ),
                    "messages",
                ),
            ),
        ),
    ),
)

JOURNAL = Row(
    "Is there room?",
    (
        Panel(
            "Journal",
            "What frames take, what the file takes with them, and what it may take. The file does not shrink: room "
            "that was used is used again.",
            (
                Query(selected("mycelium_journal_frame_bytes"), "frames"),
                Query(selected("mycelium_journal_stored_bytes"), "file"),
                Query(selected("mycelium_journal_max_bytes"), "may take"),
            ),
            unit="bytes",
        ),
        Panel(
            "Disk left",
            "What the disk below the journal has left, and what the journal may yet take. The first must be above the "
            "second.",
            (
                Query(selected("mycelium_journal_disk_free_bytes"), "left"),
                Query(
                    f"{selected('mycelium_journal_max_bytes')} - {selected('mycelium_journal_stored_bytes')}",
                    "journal may yet take",
                ),
            ),
            unit="bytes",
        ),
        Panel(
            "Batches without room",
            "Batches per second for which there was no room. Publishers wait, and nothing is lost.",
            (Query(total(rate("mycelium_journal_refused_batches_total")), "batches"),),
            unit="cps",
            steps=((0.001, RED),),
        ),
        Panel(
            "Kept",
            "Messages and frames in the journal. Where they level off, retention removes as many as come.",
            (
                Query(selected("mycelium_journal_messages"), "messages"),
                Query(selected("mycelium_journal_frames"), "frames"),
            ),
        ),
        Panel(
            "Removed by retention, by cause",
            "Per second. A durable reader that is behind by more than is kept misses what was removed: compare with "
            "the lag.",
            (
                Query(
                    or_none(total(rate("mycelium_journal_expired_messages_total"), "cause"), "cause"),
                    "messages: {{cause}}",
                ),
                Query(
                    or_none(total(rate("mycelium_journal_removed_frames_total"), "cause"), "cause"),
                    "frames: {{cause}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            "Streams and durable readers known",
            "A stream is one publisher's life on one topic. Streams that rise for ever: publishers start again and "
            "again, or topics hold what should be in the message.",
            (
                Query(selected("mycelium_journal_streams"), "streams"),
                Query(selected("mycelium_journal_readers"), "durable readers and groups"),
            ),
        ),
    ),
)

READERS = Row(
    "Who is there, and who is behind?",
    (
        Panel(
            "Lag of durable readers",
            "How many of the messages kept each durable reader or group is behind. It rises: the reader is away, or "
            "too slow. 0 for 'none': there is no durable reader.",
            (
                Query(
                    or_none(total(selected("mycelium_reader_lag_messages"), "reader"), "reader"),
                    "{{reader}}",
                ),
            ),
            steps=((10_000, RED),),
        ),
        Panel(
            "Repairs",
            "Requests per second for what a reader has missed. A start or a reconnect makes some. For long: a reader "
            "is slower than what comes, and reads from the journal.",
            (Query(total(rate("mycelium_broker_repairs_total")), "answered"),),
            unit="reqps",
        ),
        Panel(
            "Repairs that wait",
            "Requests that wait to be answered. It stays above 0: the disk is slow, or too many catch up at once.",
            (Query(selected("mycelium_broker_repairs_waiting"), "{{instance}}"),),
        ),
        Panel(
            "Connections, by port",
            "From the network. A step down: a process or a host is gone.",
            (Query(total(selected("mycelium_broker_connections"), "port"), "{{port}}"),),
        ),
        Panel(
            "Processes that are there",
            "Clients of this broker, and those of them that publish have a connection to the port 'publish'.",
            (Query(selected("mycelium_broker_clients"), "{{instance}}"),),
        ),
        Panel(
            "Subscriptions",
            "Prefixes that readers subscribe to. A step down: a reader is gone.",
            (Query(selected("mycelium_broker_subscriptions"), "{{instance}}"),),
        ),
    ),
)

PROCESS = Row(
    "How is the process?",
    (
        Panel(
            "Event loop p99 delay",
            "How late the broker's event loop comes to what is due. It stays above some 50 ms: the disk or the machine "
            "is too slow for what comes.",
            (Query(quantile(0.99, "mycelium_event_loop_delay_seconds", "instance"), "{{instance}}"),),
            unit="s",
            steps=((0.05, YELLOW), (0.25, RED)),
        ),
        Panel(
            "Processor",
            "Of one core. Near 100 % publishers wait for confirms: send more messages in a frame, or fewer messages.",
            (Query(rate("process_cpu_seconds_total"), "{{instance}}"),),
            unit="percentunit",
            steps=((0.9, RED),),
        ),
        Panel(
            "Memory",
            "Resident memory. Pages of the journal that are in memory count as well.",
            (Query(selected("process_resident_memory_bytes"), "{{instance}}"),),
            unit="bytes",
        ),
    ),
)

BROKER = Board(
    "broker",
    "Mycelium: broker",
    "What the broker takes, whether there is room, who is there and who is behind.",
    (JOB, Variable("instance", "Broker", 'label_values(mycelium_broker_clients{job="$job"}, instance)')),
    (LOOK, MESSAGES, JOURNAL, READERS, PROCESS),
)
