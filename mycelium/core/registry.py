"""Which contracts exist: by type id, by class, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mycelium.core.errors import ContractError
from mycelium.core.message import Contract, Message, contract_of


class Registry:
    """An immutable set of contracts in which every type id and every name stands once.

    Args:
        message_types: the classes.

    Raises:
        ContractError: two classes share a type id or a name; the message names both.
    """

    def __init__(self, message_types: Iterable[type[Message]] = ()) -> None:
        self._by_id: dict[int, Contract] = {}
        self._by_name: dict[str, Contract] = {}
        for message_type in message_types:
            contract = contract_of(message_type)
            for clash in (self._by_id.get(contract.type_id), self._by_name.get(contract.name)):
                if clash is not None and clash.message_type is not message_type:
                    raise ContractError(
                        f"{_where(contract)} and {_where(clash)} cannot both be registered: "
                        "a type id and a name belong to one contract"
                    )
            self._by_id[contract.type_id] = contract
            self._by_name[contract.name] = contract

    def by_id(self, type_id: int) -> Contract | None:
        """The contract of a type id, or None."""
        return self._by_id.get(type_id)

    def by_name(self, name: str) -> Contract | None:
        """The contract of a class name, or None."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Contract]:
        return iter(sorted(self._by_id.values(), key=lambda contract: contract.type_id))

    def __len__(self) -> int:
        return len(self._by_id)


def _where(contract: Contract) -> str:
    return f"{contract.message_type.__module__}.{contract.name} (type id {contract.type_id})"
