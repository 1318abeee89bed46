"""The contract lock: what every contract looked like when it was last agreed on, and which type ids are gone.

``system.lock`` stands beside ``system.yaml``. A change that a reader of the former version could not
read is a problem until it is recorded on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from mycelium.core.errors import ConfigError, Problem
from mycelium.core.message import Contract

LOCK_NAME = "system.lock"

_TypeId = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]


class LockedContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contract as it was agreed on.

    Args:
        type_id: its id.
        topic: its template.
        fields: ``name: type`` or ``name: type = default``, in wire order.
        fingerprint: hex.
    """

    type_id: _TypeId
    topic: str
    fields: tuple[str, ...]
    fingerprint: str


class ContractLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``system.lock``.

    Args:
        contracts: by name.
        retired: names of contracts that are gone, by their type id, which is never given out again.
    """

    contracts: dict[str, LockedContract] = {}
    retired: dict[str, str] = {}


def lock_path(spec_path: Path) -> Path:
    """Where the lock of a spec is."""
    return spec_path.parent / LOCK_NAME


def read_lock(path: Path) -> ContractLock:
    """Read a lock; an empty one if there is none yet.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ContractLock)
    except FileNotFoundError:
        return ContractLock()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    except msgspec.MsgspecError as error:
        raise ConfigError(
            [Problem(str(path), "", f"is no contract lock: {error}; restore it from version control")]
        ) from None


def write_lock(path: Path, lock: ContractLock) -> None:
    """Write a lock, sorted, one line per value, so that its changes are easy to review."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=2) + b"\n")


def locked(contract: Contract) -> LockedContract:
    """A contract as the lock records it."""
    return LockedContract(
        type_id=contract.type_id,
        topic=contract.topic.text,
        fields=tuple(f"{field.name}: {field}" for field in contract.fields),
        fingerprint=contract.fingerprint.hex(),
    )


def next_lock(old: ContractLock, contracts: dict[str, Contract]) -> ContractLock:
    """The lock for the contracts of today. Contracts that are gone leave their type id behind as retired."""
    gone = {
        str(entry.type_id): name
        for name, entry in old.contracts.items()
        if name not in contracts or contracts[name].type_id != entry.type_id
    }
    return ContractLock({name: locked(contract) for name, contract in contracts.items()}, {**old.retired, **gone})


def breaking_changes(old: ContractLock, contracts: dict[str, Contract], file: str) -> Iterator[Problem]:
    """What of today's contracts a peer built with the lock's could not read."""
    for name, contract in contracts.items():
        former_owner = old.retired.get(str(contract.type_id))
        if former_owner is not None:
            yield Problem(
                file,
                f"retired.{contract.type_id}",
                f"was {former_owner}'s and is never reused; {name} needs a new type id",
            )
        entry = old.contracts.get(name)
        if entry is not None:
            yield from _breaking_change(name, entry, locked(contract), file)


def _breaking_change(name: str, old: LockedContract, new: LockedContract, file: str) -> Iterator[Problem]:
    key = f"contracts.{name}"
    if old.type_id != new.type_id:
        yield Problem(file, f"{key}.type_id", f"the code says {new.type_id}; a contract keeps its type id", old.type_id)
    if old.topic != new.topic:
        yield Problem(file, f"{key}.topic", f"the code says {new.topic!r}; readers subscribe to the old one", old.topic)
    for index, field in enumerate(old.fields):
        now = new.fields[index] if index < len(new.fields) else None
        if now != field:
            yield Problem(
                file,
                f"{key}.fields.{index}",
                f"the code says {now!r}; fields are only appended, never changed, moved or removed",
                field,
            )
            return  # what follows is shifted and says nothing more
    for field in new.fields[len(old.fields) :]:
        if " = " not in field:
            yield Problem(
                file,
                f"{key}.fields",
                f"the code appends {field!r} without a default; an older message has no value for it",
            )


def unlocked_changes(old: ContractLock, contracts: dict[str, Contract], file: str) -> Iterator[Problem]:
    """Compatible changes that the lock does not know yet."""
    for name, contract in contracts.items():
        entry = old.contracts.get(name)
        if entry is None:
            yield Problem(file, f"contracts.{name}", "is not recorded yet; run 'mycelium spec lock'")
        elif entry != locked(contract):
            yield Problem(file, f"contracts.{name}", "has grown since it was recorded; run 'mycelium spec lock'")
    for name in old.contracts.keys() - contracts.keys():
        yield Problem(
            file, f"contracts.{name}", "is gone from the code; run 'mycelium spec lock' to retire its type id"
        )
