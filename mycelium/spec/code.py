"""The code that a spec names: imported, and checked to be what the spec takes it for."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mycelium.core.errors import Problem
from mycelium.core.message import Contract, Message
from mycelium.service.service import Service
from mycelium.spec.model import SystemSpec


@dataclass(frozen=True)
class SystemCode:
    """What the spec's class paths lead to. What could not be imported is left out and is a problem.

    Args:
        contracts: by the spec's name.
        services: by the spec's name.
        problems: why something is left out.
    """

    contracts: dict[str, Contract]
    services: dict[str, type[Service[Any]]]
    problems: tuple[Problem, ...]


def import_code(spec: SystemSpec, spec_path: Path) -> SystemCode:
    """Import every class that the spec names, from the directory of ``system.yaml`` first."""
    root = str(spec_path.resolve().parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    problems: list[Problem] = []
    contracts: dict[str, Contract] = {}
    services: dict[str, type[Service[Any]]] = {}
    for name, contract in spec.contracts.items():
        key = f"contracts.{name}.class"
        found = _import(contract.class_, str(spec_path), key, problems)
        declared = vars(found).get("__contract__") if isinstance(found, type) and issubclass(found, Message) else None
        if isinstance(declared, Contract):
            contracts[name] = declared
        elif found is not None:
            problems.append(Problem(str(spec_path), key, "is no Message with a type_id and topic", contract.class_))
    for name, service in spec.services.items():
        key = f"services.{name}.class"
        found = _import(service.class_, str(spec_path), key, problems)
        if isinstance(found, type) and issubclass(found, Service):
            services[name] = found
        elif found is not None:
            problems.append(Problem(str(spec_path), key, "is no subclass of Service", service.class_))
    return SystemCode(contracts, services, tuple(problems))


def _import(class_path: str, file: str, key: str, problems: list[Problem]) -> Any:
    module_name, _, class_name = class_path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - importing runs the user's code; whatever it raises is the finding
        problems.append(
            Problem(file, key, f"module {module_name} cannot be imported: {type(error).__name__}: {error}", class_path)
        )
        return None
    found = getattr(module, class_name, None)
    if found is None:
        problems.append(Problem(file, key, f"module {module_name} has no {class_name}", class_path))
    return found
