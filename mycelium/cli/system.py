"""What several commands need: topology, spec and code together, and services ready to be placed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from mycelium.core.errors import ConfigError, Problem
from mycelium.service.host import Placement
from mycelium.service.service import DIRECTORY
from mycelium.spec.code import SystemCode, import_code
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.load import LoadedTopology, load_topology
from mycelium.topology.problems import problems_of


@dataclass(frozen=True)
class System:
    """A topology with the spec and the code that it belongs to."""

    topology: LoadedTopology
    spec: SystemSpec
    code: SystemCode


def load_system(config: Path) -> System:
    """Read a topology, its spec, and import the code.

    Raises:
        ConfigError: one of the files is wrong.
    """
    topology = load_topology(config)
    spec = load_spec(topology.spec_path)
    return System(topology, spec, import_code(spec, topology.spec_path))


def placements(system: System, names: list[str]) -> list[Placement]:
    """The named services with their settings.

    Raises:
        ConfigError: a name is unknown or not placed, its code cannot be imported, or its settings are wrong.
    """
    problems: list[Problem] = []
    found: list[Placement] = []
    for name in names:
        service_type = system.code.services.get(name)
        if name not in system.spec.services:
            known = ", ".join(system.spec.services)
            problems.append(
                Problem(
                    str(system.topology.path),
                    "bundles",
                    f"is no service of {system.topology.spec_path}; those are {known}",
                    name,
                )
            )
        elif service_type is None:
            key = f"services.{name}."
            problems += [problem for problem in system.code.problems if problem.key.startswith(key)]
        else:
            directory = {DIRECTORY: system.topology.directory}
            table = system.topology.values.services.get(name, {})
            try:
                settings = service_type.settings_type.model_validate(table, context=directory)
            except ValidationError as error:
                where = partial(_origin_of_setting, system.topology, name)
                problems += problems_of(error, service_type.settings_type, where, under=f"services.{name}")
            else:
                found.append(Placement(service_type, settings))
    if problems:
        raise ConfigError(problems)
    return found


def _origin_of_setting(topology: LoadedTopology, service: str, location: tuple[str | int, ...]) -> str:
    return topology.origin("services", service, *location)
