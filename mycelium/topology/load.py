"""Reads a topology file and says what is wrong with it."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from mycelium.core.errors import ConfigError, Problem
from mycelium.topology.model import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, Mode, Topology
from mycelium.topology.problems import problems_of, read_text

SPEC_NAME = "system.yaml"


@dataclass(frozen=True)
class LoadedTopology:
    """A topology and where it stands.

    Args:
        path: the file, as the user named it.
        values: what it says.
        spec_path: the ``system.yaml`` that it belongs to.
    """

    path: Path
    values: Topology
    spec_path: Path

    @property
    def directory(self) -> Path:
        """Where relative paths in it start."""
        return self.path.resolve().parent


def load_topology(path: Path) -> LoadedTopology:
    """Read a topology, with the environment's overrides.

    Raises:
        ConfigError: it cannot be read, is no TOML, breaks a rule, or no ``system.yaml`` belongs to it.
    """
    table = _read_toml(path)
    try:
        values = Topology(**table)
    except ValidationError as error:
        raise ConfigError(problems_of(error, Topology, lambda location: origin(path, location))) from None
    except SettingsError as error:
        raise ConfigError(_unreadable_variables() or [Problem("environment", "", str(error))]) from None
    return LoadedTopology(path, values, _spec_path(path, values))


def require_built(topology: LoadedTopology) -> None:
    """Refuse the modes that this version does not run.

    Raises:
        ConfigError: the mode is bundled or distributed.
    """
    mode = topology.values.deployment.mode
    if mode is not Mode.MONOLITH:
        raise ConfigError(
            [
                Problem(
                    origin(topology.path, ("deployment", "mode")),
                    "deployment.mode",
                    "this version runs 'monolith' only; 'bundled' and 'distributed' are not built yet",
                    str(mode),
                )
            ]
        )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), "", f"is not TOML: {error}")]) from None


def _unreadable_variables() -> list[Problem]:
    """The variables that stand for a whole table or list of the topology and hold no JSON."""
    problems = []
    for key in Topology.model_fields:
        name = ENVIRONMENT_PREFIX + key.upper()
        value = os.environ.get(name)
        if value is None:
            continue
        try:
            json.loads(value)
        except ValueError as error:
            problems.append(Problem(f"environment variable {name}", key, f"is no JSON: {error}", value))
    return problems


def origin(path: Path, location: tuple[str | int, ...]) -> str:
    """The environment variable that set a key, if one did, else the file."""
    for length in range(len(location), 0, -1):
        name = ENVIRONMENT_PREFIX + ENVIRONMENT_DELIMITER.join(str(part) for part in location[:length]).upper()
        if name in os.environ:
            return f"environment variable {name}"
    return str(path)


def _spec_path(path: Path, values: Topology) -> Path:
    directory = path.resolve().parent
    if values.deployment.spec is not None:
        return directory / values.deployment.spec
    for candidate in (directory, *directory.parents):
        if (candidate / SPEC_NAME).is_file():
            return candidate / SPEC_NAME
    raise ConfigError(
        [
            Problem(
                str(path),
                "deployment.spec",
                f"is not given, and no {SPEC_NAME} stands in {directory} or above; name the system's spec here",
            )
        ]
    )
