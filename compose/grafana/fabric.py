"""The dashboard of the fabric: what flows, how fast, how late, what is missing and why."""

from __future__ import annotations

from compose.grafana.expressions import (
    ALL,
    JOB,
    MEANT,
    or_none,
    or_zero,
    quantile,
    rate,
    rise,
    selected,
    total,
)
from compose.grafana.panels import ANY, GREEN, RED, YELLOW, Board, Panel, Query, Row, Variable, stat

SERVICE = 'service=~"$service"'
READER = 'subscription=~"$service([.].*)?"'
MAILBOX = 'mailbox=~"$service([.].*)?"'
LATENCY = "mycelium_delivery_latency_seconds"
LATE = ((0.1, YELLOW), (0.5, RED))
"""MyceliumSlowDelivery fires at half a second."""
UNMEANT = f'cause!~"{MEANT}"'

LOOK = Row(
    "In one look: is something wrong?",
    (
        stat(
            "Processes down",
            "Processes that do not answer Prometheus. Look whether they run, and at the end of their logs.",
            or_zero(f"count(up{{{ALL}}} == 0)"),
            steps=ANY,
            width=3,
        ),
        stat(
            "Parts not ready",
            "Services, brokers and journals that are not at work. /readyz of their process says what they wait for.",
            or_zero(f"count({selected('mycelium_ready')} == 0)"),
            steps=ANY,
            width=3,
        ),
        stat(
            "Alerts",
            "Alerts that fire. Each stands below, with what to do.",
            or_zero('count(ALERTS{alertstate="firing", alertname=~"Mycelium.*"})'),
            steps=ANY,
            width=3,
        ),
        stat(
            "Published",
            "Messages that all services publish, per second. If this is 0 nothing comes from outside: look at Trading.",
            total(rate("mycelium_published_messages_total")),
            unit="mps",
            width=3,
        ),
        stat(
            "Delivery p99",
            "One message in a hundred takes longer than this from publish to the start of its handler. "
            "'How late' says to whom.",
            quantile(0.99, LATENCY),
            unit="s",
            steps=LATE,
            width=3,
        ),
        stat(
            "Not accounted for",
            "Messages that the ledger misses. It may be above 0 for a moment. If it stays, messages have been lost "
            "without a cause: `mycelium ledger` says which.",
            total(selected("mycelium_ledger_missing_messages")),
            steps=ANY,
            width=3,
        ),
        stat(
            "Dropped, last hour",
            "Messages that a reader misses, without what queue policies drop on purpose. 'What is missing' has causes.",
            or_zero(total(rise("mycelium_dropped_messages_total", UNMEANT))),
            steps=ANY,
            width=3,
        ),
        stat(
            "Dead letters, last hour",
            "Messages that handlers gave up. Each is in the log and on _sys.dead, with its error.",
            total(rise("mycelium_dead_letters_total")),
            steps=ANY,
            width=3,
        ),
        Panel(
            "Alerts that fire",
            "By name, how many. Summary, description and what to do come with the alert.",
            (
                Query(
                    or_none(
                        'sum by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Mycelium.*"})',
                        "alertname",
                    )
                ),
            ),
            kind="table",
            height=7,
        ),
        Panel(
            "At work",
            "Whether each part of each process was at work. A gap: the process did not answer.",
            (Query(selected("mycelium_ready"), "{{part}} {{instance}}"),),
            kind="state-timeline",
            height=7,
            words={0: ("not ready", RED), 1: ("ready", GREEN)},
        ),
        Panel(
            "States of services",
            "Where in its life each service is. 'failed': the log has the reason, and the process must be started "
            "again. 'starting' for long: /readyz says what it waits for.",
            (Query(f"{selected('mycelium_health', SERVICE)} == 1"),),
            kind="table",
            height=7,
        ),
    ),
)

FLOW = Row(
    "What flows, and how fast?",
    (
        Panel(
            "Published, by service and contract",
            "Messages per second. A line that falls to 0: its service has nothing to say, waits for the broker, or is "
            "gone.",
            (
                Query(
                    total(rate("mycelium_published_messages_total", SERVICE), "service", "contract"),
                    "{{service}} {{contract}}",
                ),
            ),
            unit="mps",
        ),
        Panel(
            "Delivered, by subscription",
            "Messages per second that were handed to each reader. Below what is published for long: the reader falls "
            "behind, see 'What waits'.",
            (
                Query(
                    total(rate("mycelium_delivered_messages_total", READER), "subscription"),
                    "{{subscription}}",
                ),
            ),
            unit="mps",
        ),
        Panel(
            "Handled, by service",
            "Messages per second that handlers have finished.",
            (Query(total(rate("mycelium_handled_messages_total", SERVICE), "service"), "{{service}}"),),
            unit="mps",
        ),
        Panel(
            "Published, all processes",
            "By contract over a minute, as the recording rule has it: without the choice of process and service.",
            (Query('contract:mycelium_published_messages:rate1m{job="$job"}', "{{contract}}"),),
            unit="mps",
            stacked=True,
        ),
        Panel(
            "Unread, by service and contract",
            "Messages per second that were published while nobody in reach subscribed. If somebody should have: is "
            "the reader there, and does its pattern match? See find-out-why-nothing-arrives.",
            (
                Query(
                    or_none(
                        total(rate("mycelium_unread_messages_total", SERVICE), "service", "contract"),
                        "service",
                    ),
                    "{{service}} {{contract}}",
                ),
            ),
            unit="mps",
        ),
        Panel(
            "Taken in from outside, by service and intake",
            "Things per second that became messages or state. 0: the outside is silent, or not reached.",
            (
                Query(
                    or_none(
                        total(rate("mycelium_intake_accepted_total", SERVICE), "service", "intake"),
                        "service",
                    ),
                    "{{service}} {{intake}}",
                ),
            ),
            unit="eps",
        ),
    ),
)

LATENESS = Row(
    "How late?",
    (
        Panel(
            "Delivery p50, by subscription",
            "Half of the messages take longer than this from publish to the start of their handler.",
            (Query(quantile(0.5, LATENCY, "subscription", matchers=(READER,)), "{{subscription}}"),),
            unit="s",
        ),
        Panel(
            "Delivery p99, by subscription",
            "One message in a hundred takes longer than this. If one line is high, its handlers are slow. If all of a "
            "process are, look at the delay of its event loop.",
            (Query(quantile(0.99, LATENCY, "subscription", matchers=(READER,)), "{{subscription}}"),),
            unit="s",
            steps=LATE,
        ),
        Panel(
            "Delivery, all subscriptions",
            "How many messages took how long. Two bands: some readers are slow, or a reader catches up.",
            (Query(total(f"increase({selected(f'{LATENCY}_bucket', READER)}[$__rate_interval])", "le"), "{{le}}"),),
            unit="short",
            kind="heatmap",
        ),
    ),
)

WAITING = Row(
    "What waits?",
    (
        Panel(
            "Mailboxes filled",
            "Of what the mailbox of each service holds. At 100 % its queue policy takes effect: publishers wait, or "
            "messages are dropped.",
            (
                Query(
                    f"{selected('mycelium_queued_messages', MAILBOX)}"
                    f" / {selected('mycelium_queue_capacity_messages', MAILBOX)}",
                    "{{mailbox}}",
                ),
            ),
            unit="percentunit",
            width=6,
            steps=((0.5, YELLOW), (0.9, RED)),
            top=1,
        ),
        Panel(
            "Waiting, by subscription",
            "Messages that wait for the reader, in its process or in a store. It rises for long: the handler is too "
            "slow; make it faster, or share its work in a group.",
            (Query(total(selected("mycelium_waiting_messages", READER), "subscription"), "{{subscription}}"),),
            width=6,
        ),
        Panel(
            "Lag of durable readers",
            "How many of the messages kept a durable reader or group is behind. The broker says it: it is also there "
            "while the reader is not.",
            (Query(or_none('sum by (reader) (mycelium_reader_lag_messages{job="$job"})', "reader"), "{{reader}}"),),
            width=6,
        ),
        Panel(
            "Unconfirmed, by process",
            "Messages that the broker has not confirmed. They are kept and sent again. If it does not fall, is the "
            "broker there, and has its journal room?",
            (Query(total(selected("mycelium_unconfirmed_messages"), "instance"), "{{instance}}"),),
            width=6,
        ),
    ),
)

MISSING = Row(
    "What is missing, and why?",
    (
        Panel(
            "Drops, by cause",
            "Messages per second. 'queue policy' is meant; 'decode error': reader and publisher have different "
            "contracts; 'lost in transport' and 'no longer kept': the reader was too slow or away for too long.",
            (Query(or_none(total(rate("mycelium_dropped_messages_total", READER), "cause"), "cause"), "{{cause}}"),),
            unit="mps",
            stacked=True,
        ),
        Panel(
            "Dropped since the start, by subscription and cause",
            "All drops that processes remember. A cause that comes with its first message shows no rate; here it does.",
            (
                Query(
                    or_none(
                        total(selected("mycelium_dropped_messages_total", READER), "subscription", "cause"),
                        "subscription",
                    )
                ),
            ),
            kind="table",
        ),
        Panel(
            "Failures of handlers",
            "Calls per second that were tried again, and messages per second that were given up. The log has their "
            "errors; `_sys.dead` has the messages.",
            (
                Query(total(rate("mycelium_retried_calls_total", SERVICE), "service"), "{{service}} tried again"),
                Query(total(rate("mycelium_dead_letters_total", SERVICE), "service"), "{{service}} given up"),
            ),
            unit="cps",
        ),
        Panel(
            "Not accounted for, by process",
            "What the ledger misses. A peak of one measurement is two sides written apart. A line that stays is a loss "
            "without a cause: `mycelium ledger`.",
            (Query(total(selected("mycelium_ledger_missing_messages"), "instance"), "{{instance}}"),),
            steps=ANY,
        ),
        Panel(
            "Refused, by cause",
            "Per second: messages that the broker does not take from publishers, frames that could not be read, and "
            "requests over HTTP. Somebody sends what the system does not know, or has no key or token for it.",
            (
                Query(or_none(total(rate("mycelium_refused_messages_total"), "cause"), "cause"), "messages: {{cause}}"),
                Query(or_none(total(rate("mycelium_frames_refused_total"), "cause"), "cause"), "frames: {{cause}}"),
                Query(or_none(total(rate("mycelium_http_refused_total"), "cause"), "cause"), "HTTP: {{cause}}"),
            ),
            unit="cps",
        ),
        Panel(
            "Bad input, by service and cause",
            "Things per second from outside that were refused. The log shows what they were.",
            (
                Query(
                    or_none(
                        total(rate("mycelium_intake_refused_total", SERVICE), "service", "intake", "cause"),
                        "service",
                    ),
                    "{{service}} {{intake}}: {{cause}}",
                ),
            ),
            unit="cps",
        ),
    ),
)

PROCESSES = Row(
    "How are the processes?",
    (
        Panel(
            "Event loop p99 delay",
            "How late each event loop comes to what is due. Something in the process does not await, or the machine "
            "has no time for it.",
            (Query(quantile(0.99, "mycelium_event_loop_delay_seconds", "instance"), "{{instance}}"),),
            unit="s",
            steps=((0.05, YELLOW), (0.25, RED)),
        ),
        Panel(
            "Processor",
            "Of one core. A process near 100 % does not get faster: spread its services over more processes.",
            (Query(rate("process_cpu_seconds_total"), "{{instance}}"),),
            unit="percentunit",
            steps=((0.9, RED),),
        ),
        Panel(
            "Memory",
            "Resident memory. It rises for hours: which queue, window or cache grows with it?",
            (Query(selected("process_resident_memory_bytes"), "{{instance}}"),),
            unit="bytes",
        ),
        Panel(
            "Restarts, last hour",
            "How often each process was started again. The end of the log before says why it ended.",
            (Query(f"changes({selected('process_start_time_seconds')}[1h])", "{{instance}}"),),
            width=6,
            steps=((1, YELLOW), (3, RED)),
        ),
        Panel(
            "Up since",
            "Age of each process. After a deployment they are all young.",
            (Query(f"time() - {selected('process_start_time_seconds')}", "{{instance}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "File descriptors used",
            "Of those that the process may have. At 100 % it takes no more connections.",
            (Query(f"{selected('process_open_fds')} / {selected('process_max_fds')}", "{{instance}}"),),
            unit="percentunit",
            width=6,
            steps=((0.8, RED),),
            top=1,
        ),
        Panel(
            "Versions",
            "What each process runs. Two versions at once are right only during a deployment.",
            (Query(f"sum by (instance, version, python) ({selected('mycelium_build_info')})"),),
            kind="table",
            width=6,
        ),
    ),
)

FABRIC = Board(
    "fabric",
    "Mycelium: fabric",
    "What flows, how fast, how late, what is missing and why.",
    (
        JOB,
        Variable("instance", "Process", 'label_values(up{job="$job"}, instance)'),
        Variable("service", "Service", 'label_values(mycelium_health{job="$job", instance=~"$instance"}, service)'),
    ),
    (LOOK, FLOW, LATENESS, WAITING, MISSING, PROCESSES),
)
