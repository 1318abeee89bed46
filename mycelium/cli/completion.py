"""What the shell offers where a name is to be typed: the names that topology and ``system.yaml`` have.

A mistake in a file is no reason to disturb somebody who types: nothing is offered then, and the command will say it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import typer

from mycelium.core.errors import ConfigError
from mycelium.spec.model import load_spec
from mycelium.topology.load import LoadedTopology, load_topology


def _topology(context: typer.Context) -> LoadedTopology | None:
    """The topology that the command line names, or that is taken without one."""
    # While it is being completed the defaults are not filled in.
    parameters = {parameter.name: parameter for parameter in context.command.params}
    said = context.params.get("config") or os.environ.get("MYCELIUM_CONFIG") or parameters["config"].default
    try:
        return load_topology(Path(str(said)))
    except ConfigError:
        return None


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def bundles(context: typer.Context, incomplete: str) -> list[str]:
    """The bundles of the topology."""
    topology = _topology(context)
    return [] if topology is None else _beginning(incomplete, (bundle.name for bundle in topology.values.bundles))


def services(context: typer.Context, incomplete: str) -> list[str]:
    """The services that the topology places."""
    topology = _topology(context)
    return [] if topology is None else _beginning(incomplete, topology.values.placed)


def contracts(context: typer.Context, incomplete: str) -> list[str]:
    """The contracts of ``system.yaml``."""
    topology = _topology(context)
    try:
        return [] if topology is None else _beginning(incomplete, load_spec(topology.spec_path).contracts)
    except ConfigError:
        return []


def operators(context: typer.Context, incomplete: str) -> list[str]:
    """The operators of ``system.yaml``."""
    topology = _topology(context)
    try:
        return [] if topology is None else _beginning(incomplete, load_spec(topology.spec_path).operators)
    except ConfigError:
        return []
