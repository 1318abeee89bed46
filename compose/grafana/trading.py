"""The dashboard of the trading system: the chain, the strategy, the report."""

from __future__ import annotations

from compose.grafana.expressions import JOB, or_none, or_zero, quantile, rate, rise, selected, total
from compose.grafana.panels import ANY, RED, YELLOW, Board, Panel, Query, Row, Variable, stat

ADAPTER = 'service=~"$adapter"'
STRATEGY = 'service=~"$strategy"'
TRADERS = 'service=~"$adapter|$strategy"'
REPORT = 'subscription=~"run_report[.].*"'
INTO_STRATEGY = 'subscription=~"($strategy)[.].*"'
LATENCY = "mycelium_delivery_latency_seconds"
OWN = "mycelium_service_"
"""Before the names of what services say of themselves."""

FATES = ("screened_out", "unpriced_gas", "outranked", "unprofitable", "below_minimum", "over_limit", "signals")
"""What becomes of a cycle that was looked at. They add up: see EngineStatistics."""


LOOK = Row(
    "In one look: is something wrong?",
    (
        stat(
            "Newest block",
            "The newest block that is published. -1: it waits for the first one.",
            f"max({selected(f'{OWN}block', ADAPTER)})",
            unit="none",
        ),
        stat(
            "Blocks behind",
            "Blocks that are missing to the newest that any endpoint tells of. 'How do the endpoints do' says whether "
            "they answer.",
            f"max({selected(f'{OWN}behind', ADAPTER)})",
            steps=((5, YELLOW), (20, RED)),
        ),
        stat(
            "Head to published, p99",
            "One block in a hundred takes longer, from a head that was heard of to its last message, since the start.",
            f"max({selected(f'{OWN}publish_p99_seconds', ADAPTER)})",
            unit="s",
            steps=((1, YELLOW), (2, RED)),
        ),
        stat(
            "Signals, last hour",
            "Profitable cycles that were published. 0 can be right: the market may leave nothing.",
            total(rise(f"{OWN}signals", STRATEGY)),
        ),
        stat(
            "Void signals",
            "Signals of blocks that the chain has taken back. Whoever acts must have heard of the retraction.",
            total(selected(f"{OWN}signals_void", STRATEGY)),
            steps=((1, YELLOW),),
        ),
        stat(
            "Bad input, last hour",
            "Things that adapter and strategy refused: the log shows them.",
            or_zero(total(rise("mycelium_intake_refused_total", TRADERS))),
            steps=ANY,
        ),
    ),
)

CHAIN = Row(
    "What does the chain say?",
    (
        Panel(
            "Behind the newest block",
            "Blocks to the newest one that any endpoint tells of. It rises: endpoints do not answer, or limit what is "
            "asked.",
            (Query(selected(f"{OWN}behind", ADAPTER), "{{service}}"),),
            steps=((20, RED),),
        ),
        Panel(
            "Blocks and events published",
            "Per second. Events are trades and states of pools. Blocks without events: no pool that we follow trades.",
            (
                Query(total(rate(f"{OWN}blocks", ADAPTER)), "blocks"),
                Query(total(rate(f"{OWN}events", ADAPTER)), "events"),
                Query(total(rate(f"{OWN}backfilled", ADAPTER)), "blocks read in ranges, far behind the head"),
            ),
            unit="eps",
        ),
        Panel(
            "Head to published",
            "From a head that was heard of to its last message, since the start; 'own' is without waiting for "
            "endpoints. If only the first is high, the endpoints are slow.",
            (
                Query(selected(f"{OWN}publish_p50_seconds", ADAPTER), "p50"),
                Query(selected(f"{OWN}publish_p99_seconds", ADAPTER), "p99"),
                Query(selected(f"{OWN}own_p50_seconds", ADAPTER), "own p50"),
                Query(selected(f"{OWN}own_p99_seconds", ADAPTER), "own p99"),
            ),
            unit="s",
        ),
        Panel(
            "Logs taken in",
            "Logs per second that became messages, by intake.",
            (
                Query(
                    total(rate("mycelium_intake_accepted_total", ADAPTER), "service", "intake"),
                    "{{service}} {{intake}}",
                ),
            ),
            unit="eps",
        ),
        Panel(
            "Logs ignored, by cause",
            "Logs per second that are rightly not for us.",
            (
                Query(
                    or_none(total(rate("mycelium_intake_ignored_total", ADAPTER), "intake", "cause"), "cause"),
                    "{{intake}}: {{cause}}",
                ),
            ),
            unit="eps",
        ),
        Panel(
            "Refused, by cause",
            "Logs and pools per second that cannot be right. An endpoint lies, or a pool is none: the log has them.",
            (
                Query(
                    or_none(total(rate("mycelium_intake_refused_total", ADAPTER), "intake", "cause"), "cause"),
                    "{{intake}}: {{cause}}",
                ),
            ),
            unit="eps",
        ),
        Panel(
            "Reorganisations",
            "How often in the last hour blocks were taken back, and how many at once at most since the start.",
            (
                Query(total(rise(f"{OWN}reorganisations", ADAPTER)), "in the last hour"),
                Query(f"max({selected(f'{OWN}deepest', ADAPTER)})", "deepest, blocks"),
            ),
            width=12,
        ),
        Panel(
            "Pools followed",
            "By adapter and strategy. If the strategy knows fewer, descriptions have not reached it.",
            (Query(total(selected(f"{OWN}pools", TRADERS), "service"), "{{service}}"),),
            width=12,
        ),
    ),
)

ENDPOINTS = Row(
    "How do the endpoints do?",
    (
        Panel(
            "Score",
            "1 is best. Failures and stale heads take from it; the best is asked. All are low: look for another "
            "endpoint.",
            (Query(selected(f"{OWN}endpoints_score", ADAPTER), "{{name}}"),),
            width=6,
            top=1,
        ),
        Panel(
            "Head behind the others",
            "Blocks that each endpoint is behind the furthest one.",
            (
                Query(
                    f"scalar(max({selected(f'{OWN}endpoints_head', ADAPTER)}))"
                    f" - {selected(f'{OWN}endpoints_head', ADAPTER)}",
                    "{{name}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Answers and failures",
            "Questions per second. The log says what an endpoint that fails has said.",
            (
                Query(total(rate(f"{OWN}endpoints_answered", ADAPTER), "name"), "{{name}} answered"),
                Query(total(rate(f"{OWN}endpoints_failed", ADAPTER), "name"), "{{name}} failed"),
            ),
            unit="reqps",
            width=6,
        ),
        Panel(
            "WebSocket connections made, last hour",
            "Of an endpoint that tells of heads. More than a few: it breaks off, and heads are asked for meanwhile.",
            (Query(or_none(total(rise(f"{OWN}reconnects", ADAPTER), "name"), "name"), "{{name}}"),),
            width=6,
        ),
    ),
)

DECIDES = Row(
    "What does the strategy make of it?",
    (
        Panel(
            "What becomes of cycles",
            "Cycles per second that were looked at, by how far they came. 'unpriced_gas': no known pool quotes gas in "
            "the start token. All are 'screened_out': the market is even.",
            tuple(Query(total(rate(OWN + fate, STRATEGY)), fate) for fate in FATES),
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Looked at, and computed exactly",
            "Cycles per second. 'sized' costs most of the strategy's time.",
            (
                Query(total(rate(f"{OWN}examined", STRATEGY)), "looked at"),
                Query(total(rate(f"{OWN}sized", STRATEGY)), "sized"),
            ),
            unit="cps",
        ),
        Panel(
            "Signals",
            "Per second, as the strategy counts them and as they are published. The second falls behind: its "
            "publisher waits.",
            (
                Query(total(rate(f"{OWN}signals", STRATEGY)), "found"),
                Query(
                    total(rate("mycelium_published_messages_total", STRATEGY, 'contract="ArbitrageSignal"')),
                    "published",
                ),
            ),
            unit="cps",
        ),
        Panel(
            "Cycles known, and without room",
            "Cycles of two and three pools. Above 0 without room: pools have more cycles than the settings allow.",
            (
                Query(total(selected(f"{OWN}cycles", STRATEGY)), "known"),
                Query(total(selected(f"{OWN}cycles_over_limit", STRATEGY)), "without room"),
            ),
        ),
        Panel(
            "Left out and forgotten",
            "Events since the start of pools that are not described, or without the state that follows; pools that "
            "are out of use after a reorganisation deeper than is remembered.",
            (
                Query(total(selected(f"{OWN}left_out", STRATEGY)), "events left out"),
                Query(total(selected(f"{OWN}states_forgotten", STRATEGY)), "pools out of use"),
            ),
            steps=((1, YELLOW),),
        ),
        Panel(
            "Refused by the strategy, by cause",
            "Per second: states and descriptions that no pool can have, and blocks of which something was missing.",
            (
                Query(
                    or_none(total(rate("mycelium_intake_refused_total", STRATEGY), "intake", "cause"), "cause"),
                    "{{intake}}: {{cause}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            "Event to strategy, p99",
            "From the adapter's publish to the start of the strategy's handler. This is what the fabric costs.",
            (Query(quantile(0.99, LATENCY, "subscription", matchers=(INTO_STRATEGY,)), "{{subscription}}"),),
            unit="s",
            width=12,
            steps=((0.1, YELLOW), (0.5, RED)),
        ),
        Panel(
            "Waiting for the strategy",
            "Messages. While it rises, signals are of prices that are gone.",
            (Query(total(selected("mycelium_waiting_messages", INTO_STRATEGY), "subscription"), "{{subscription}}"),),
            width=12,
        ),
    ),
)

WRITES = Row(
    "Does the report keep up?",
    (
        Panel(
            "Delivered to the report",
            "Messages per second. It writes a line for each.",
            (Query(total(rate("mycelium_delivered_messages_total", REPORT), "subscription"), "{{subscription}}"),),
            unit="mps",
        ),
        Panel(
            "Publish to report, p99",
            "Of on_signal: how old a signal is when somebody can act on it.",
            (Query(quantile(0.99, LATENCY, "subscription", matchers=(REPORT,)), "{{subscription}}"),),
            unit="s",
            steps=((0.1, YELLOW), (0.5, RED)),
        ),
        Panel(
            "Waiting for the report",
            "Messages. It rises for long: the disk is slow.",
            (Query(total(selected("mycelium_waiting_messages", REPORT), "subscription"), "{{subscription}}"),),
        ),
    ),
)

TRADING = Board(
    "trading",
    "Mycelium: trading",
    "The chain, the endpoints, the strategy and the report. What a chain is needed for is empty on recorded data.",
    (
        JOB,
        Variable("instance", "Process", 'label_values(up{job="$job"}, instance)'),
        Variable("adapter", "Adapter", 'label_values(mycelium_service_behind{job="$job"}, service)', anything=""),
        Variable("strategy", "Strategy", 'label_values(mycelium_service_examined{job="$job"}, service)', anything=""),
    ),
    (LOOK, CHAIN, ENDPOINTS, DECIDES, WRITES),
)
