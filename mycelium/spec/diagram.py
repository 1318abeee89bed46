"""Draws the wiring that a spec describes, and writes its catalogue page."""

from __future__ import annotations

from collections.abc import Iterator

from mycelium.spec.model import SystemSpec


def mermaid(spec: SystemSpec) -> str:
    """The wiring as a Mermaid flow chart: services as boxes, contracts as arrows from writer to reader."""
    lines = ["flowchart LR"]
    lines += [f'    {_node(name)}["{name}"]' for name in spec.services]
    for writer, service in spec.services.items():
        for contract in service.publishes:
            for reader, other in spec.services.items():
                patterns = [entry.pattern for entry in other.subscribes if entry.contract == contract]
                for pattern in patterns:
                    label = contract if pattern is None else f"{contract}<br/>{pattern}"
                    lines.append(f'    {_node(writer)} -- "{label}" --> {_node(reader)}')
    return "\n".join(lines) + "\n"


def _node(name: str) -> str:
    return name.replace("-", "_")


def catalogue(spec: SystemSpec) -> str:
    """A Markdown page with the wiring, the services and the contracts. Generated: CI checks that it is fresh."""
    parts = [
        f"# The system: {spec.system}",
        "<!-- Generated from system.yaml by 'mycelium spec diagram --write'. Change system.yaml, not this page. -->",
        "```mermaid\n" + mermaid(spec) + "```",
        "## Services",
        _table(
            ("service", "publishes", "subscribes", "restart", "what it does"),
            [
                (
                    f"`{name}`",
                    ", ".join(service.publishes) or "–",
                    ", ".join(entry.contract for entry in service.subscribes) or "–",
                    service.restart.value,
                    service.description,
                )
                for name, service in spec.services.items()
            ],
        ),
    ]
    if spec.operators:
        parts += [
            "## Operators",
            "Roles for tools, at a broker with keys.",
            _table(
                ("operator", "reads", "asks", "what it is for"),
                [
                    (
                        f"`{name}`",
                        ", ".join(entry.contract for entry in operator.subscribes) or "–",
                        ", ".join(operator.asks) or "–",
                        operator.description,
                    )
                    for name, operator in spec.operators.items()
                ],
            ),
        ]
    parts += ["## Topics", _table(("topic", "contract", "published by", "read by"), _topics(spec))]
    parts.append("## Contracts")
    for name, contract in sorted(spec.contracts.items(), key=lambda entry: entry[1].type_id):
        parts += [
            f"### {name}",
            f"{contract.description}\nType id {contract.type_id}, topic `{contract.topic}`, {contract.delivery.value}.",
            _table(
                ("field", "type"), [(f"`{field}`", f"`{_escaped(kind)}`") for field, kind in contract.fields.items()]
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _topics(spec: SystemSpec) -> list[tuple[str, ...]]:
    """What travels where, from whom to whom, in the order of the topics."""
    return [
        (
            f"`{contract.topic}`",
            name,
            ", ".join(writer for writer, service in spec.services.items() if name in service.publishes) or "–",
            ", ".join(_readers(spec, name)) or "–",
        )
        for name, contract in sorted(spec.contracts.items(), key=lambda entry: entry[1].topic)
    ]


def _readers(spec: SystemSpec, contract: str) -> Iterator[str]:
    for reader, service in spec.services.items():
        patterns = [entry.pattern for entry in service.subscribes if entry.contract == contract]
        if patterns:
            only = [f"`{pattern}`" for pattern in patterns if pattern is not None]
            yield f"{reader} ({', '.join(only)})" if len(only) == len(patterns) else reader


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
