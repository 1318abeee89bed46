"""The files and addresses of a measurement: all in a directory of its own, on ports that nobody uses."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mycelium.bench.messages import Sample
from mycelium.core.message import Message, contract_of
from mycelium.topology.model import ENVIRONMENT_PREFIX
from mycelium.transport.addresses import StoreAddress
from mycelium.transport.keyring import BROKER, Keyring
from mycelium.transport.ports import free_ports

ENDS = ("near", "far")
"""The processes that publish and read, by their lane."""

_HERE = "127.0.0.1"

_SPEC = """\
system: bench
contracts:
  {name}:
    class: {module}:{name}
    type_id: {type_id}
    topic: {topic}
    fields: {fields}
services:
"""
# The broker wants to know names, and looks at no code.
_SERVICE = """\
  {end}: {{class: {module}:{name}, publishes: [{name}], subscribes: [{name}], restart: never, depends_on: []}}
"""
_TOPOLOGY = """\
[deployment]
mode = "distributed"
state_dir = "state"

[broker]
host = "{host}"
publish_port = {publish}
frames_port = {frames}
control_port = {control}
durability = "process"
{more}
{security}
[[bundles]]
name = "ends"
services = [{services}]
"""


def write_system(
    directory: Path, message_type: type[Message] = Sample, *, journal_bytes: int | None = None, keys: Path | None = None
) -> tuple[Path, StoreAddress]:
    """Write a topology with a broker, and its ``system.yaml``.

    Args:
        directory: where to.
        message_type: what may be published.
        journal_bytes: how much the broker keeps; by default as much as any broker.
        keys: where to make keys, for a broker that asks for them.

    Returns:
        The topology's path, and where the broker will be.
    """
    contract = contract_of(message_type)
    names = {"name": contract.name, "module": message_type.__module__}
    fields = "{" + ", ".join(f"{field.name}: {field}" for field in contract.fields) + "}"
    spec = _SPEC.format(**names, type_id=contract.type_id, topic=contract.topic.text, fields=fields)
    services = "".join(_SERVICE.format(**names, end=end) for end in ENDS)
    (directory / "system.yaml").write_text(spec + services, encoding="utf-8")
    frames, control, publish = free_ports(3)
    topology = directory / "distributed.toml"
    topology.write_text(
        _TOPOLOGY.format(
            host=_HERE,
            publish=publish,
            frames=frames,
            control=control,
            more="" if journal_bytes is None else f"journal_bytes = {journal_bytes}\n",
            security="" if keys is None else f'[security]\nkeys = "{keys}"\n',
            services=", ".join(f'"{end}"' for end in ENDS),
        ),
        encoding="utf-8",
    )
    if keys is not None:
        for name in (BROKER, *ENDS):
            Keyring(keys).create(name, time.time())
    return topology, StoreAddress("broker", tcp(frames), tcp(control), tcp(publish))


def ipc_store(directory: Path, end: str) -> StoreAddress:
    """Where the store of a process is that others on this host read from."""
    return StoreAddress(end, f"ipc://{directory}/{end}.frames", f"ipc://{directory}/{end}.control")


def tcp(port: int) -> str:
    """An endpoint of this host."""
    return f"tcp://{_HERE}:{port}"


def own_environment() -> Mapping[str, str]:
    """This process's environment without what changes topologies: those of the user are none of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
