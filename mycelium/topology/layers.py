"""The files that a topology is made of: one may begin with another one's tables and say what is different."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from mycelium.core.errors import ConfigError, Problem
from mycelium.topology.model import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX
from mycelium.topology.problems import read_text
from mycelium.topology.rules import Location

_BASE = ("deployment", "base")


@dataclass(frozen=True)
class Layer:
    """One of the files that a topology is made of.

    Args:
        path: the file, as the user named it.
        table: what stands in it.
    """

    path: Path
    table: Mapping[str, Any]

    def reach(self, location: Location) -> int:
        """How many parts of a key stand in this file. A list or a single value hides what another file has in it."""
        inside: Any = self.table
        for depth, part in enumerate(location):
            if not isinstance(inside, Mapping):
                break
            if part not in inside:
                return depth
            inside = inside[str(part)]
        return len(location)


@dataclass(frozen=True)
class Layers:
    """The files that a topology is made of: the one that was asked for, its base, the base's base."""

    files: tuple[Layer, ...]

    def merged(self) -> Mapping[str, Any]:
        """What they say together: tables merged, of everything else what stands in the upper file."""
        return reduce(_merged, (layer.table for layer in reversed(self.files)))

    def origin(self, location: Location) -> str:
        """The environment variable that set a key, if one did, else the file."""
        for length in range(len(location), 0, -1):
            name = _variable(location[:length])
            if name in os.environ:
                return f"environment variable {name}"
        return str(max(self.files, key=lambda layer: layer.reach(location)).path)  # of equals the uppermost


def read_layers(path: Path) -> Layers:
    """The file, its base, the base's base, until one has none.

    Raises:
        ConfigError: one cannot be read or is no TOML, a base is no file beside, or the bases go round in a circle.
    """
    layers = [_read(path)]
    base = os.environ.get(_variable(_BASE), _base_of(layers[0]))
    while base is not None:
        below = layers[-1].path.parent / base if isinstance(base, str) and Path(base).name == base else None
        if below is None or not below.is_file():
            origin = Layers((layers[-1],)).origin(_BASE)
            raise ConfigError([Problem(origin, ".".join(_BASE), "should name a file beside this one", base)])
        passed = [str(layer.path) for layer in layers]
        if str(below) in passed:
            message = f"leads back: {' -> '.join([*passed, str(below)])}; a base cannot stand on what stands on it"
            raise ConfigError([Problem(passed[-1], ".".join(_BASE), message, base)])
        layers.append(_read(below))
        base = _base_of(layers[-1])
    return Layers(tuple(layers))


def _variable(location: Location) -> str:
    return ENVIRONMENT_PREFIX + ENVIRONMENT_DELIMITER.join(str(part) for part in location).upper()


def _read(path: Path) -> Layer:
    try:
        return Layer(path, tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), "", f"is not TOML: {error}")]) from None


def _base_of(layer: Layer) -> Any:
    deployment = layer.table.get("deployment")
    return deployment.get("base") if isinstance(deployment, dict) else None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    return merged
