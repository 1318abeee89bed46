"""Reads a topology file and says what is wrong with it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from mycelium.core.errors import ConfigError, Problem
from mycelium.topology.layers import Layers, read_layers
from mycelium.topology.model import ENVIRONMENT_PREFIX, Topology
from mycelium.topology.problems import problems_of
from mycelium.topology.rules import broken_rules

SPEC_NAME = "system.yaml"


@dataclass(frozen=True)
class LoadedTopology:
    """A topology and where it stands.

    Args:
        layers: the files that it is made of.
        values: what they say together.
        spec_path: the ``system.yaml`` that it belongs to.
    """

    layers: Layers
    values: Topology
    spec_path: Path

    @property
    def path(self) -> Path:
        """The file, as the user named it."""
        return self.layers.files[0].path

    @property
    def directory(self) -> Path:
        """Where relative paths in it start."""
        return self.path.resolve().parent

    @property
    def state_directory(self) -> Path:
        """Where journals and outboxes go."""
        return self.directory / self.values.deployment.state_dir

    def origin(self, *location: str | int) -> str:
        """The environment variable that set a key, if one did, else the file."""
        return self.layers.origin(location)


def load_topology(path: Path) -> LoadedTopology:
    """Read a topology, with its base and the environment's overrides.

    Raises:
        ConfigError: it cannot be read, is no TOML, breaks a rule, or no ``system.yaml`` belongs to it.
    """
    layers = read_layers(path)
    try:
        values = Topology(**layers.merged())
    except ValidationError as error:
        raise ConfigError(problems_of(error, Topology, layers.origin)) from None
    except SettingsError as error:
        raise ConfigError(_unreadable_variables() or [Problem("environment", "", str(error))]) from None
    problems = [
        Problem(layers.origin(broken.location), ".".join(map(str, broken.location)), broken.message, broken.value)
        for broken in broken_rules(values)
    ]
    if problems:
        raise ConfigError(problems)
    return LoadedTopology(layers, values, _spec_path(path, values))


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
