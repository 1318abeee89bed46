"""Value types of the trading domain: fixed width on the wire, checked when they are made."""

from __future__ import annotations

from typing import Self, SupportsIndex

from mycelium.core.message import WireValue


class Address(bytes, WireValue):
    """An EVM account or contract: 20 bytes, shown as lower-case hex.

    Args:
        value: 20 bytes, or 40 hex digits with or without ``0x``.

    Raises:
        ValueError: another length, or a character that is no hex digit.
    """

    __slots__ = ()

    def __new__(cls, value: bytes | str) -> Self:
        """See the class."""
        if isinstance(value, str):
            try:
                raw = bytes.fromhex(value.removeprefix("0x"))
            except ValueError:
                raise ValueError(f"{value!r} is no address: expected 0x and 40 hex digits") from None
        else:
            raw = value
        if len(raw) != 20:
            raise ValueError(f"{value!r} is no address: {len(raw)} bytes long, expected 20")
        return super().__new__(cls, raw)

    def __str__(self) -> str:
        return "0x" + self.hex()

    def __repr__(self) -> str:
        return f"Address('{self}')"

    def to_wire(self) -> bytes:
        """See :class:`~mycelium.WireValue`."""
        return bytes(self)

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """See :class:`~mycelium.WireValue`."""
        return cls(data)


class _Word(int, WireValue):
    """A whole number of one EVM word: 32 bytes, big-endian, on the wire."""

    __slots__ = ()
    _signed = False
    _minimum = 0
    _maximum = 0

    def __new__(cls, value: SupportsIndex | str | bytes = 0) -> Self:
        """See the class."""
        if isinstance(value, float):
            raise TypeError(f"{cls.__name__}({value!r}): money is whole numbers")
        self = super().__new__(cls, value)
        if not cls._minimum <= self <= cls._maximum:
            raise ValueError(f"{int(self)} does not fit {cls.__name__}: {cls._minimum} to {cls._maximum}")
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def to_wire(self) -> bytes:
        """32 bytes, big-endian."""
        return self.to_bytes(32, "big", signed=self._signed)

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """The number of 32 bytes, big-endian."""
        if len(data) != 32:
            raise ValueError(f"{cls.__name__} takes 32 bytes, found {len(data)}")
        return cls(int.from_bytes(data, "big", signed=cls._signed))


class U256(_Word):
    """An unsigned 256-bit integer, such as a token amount in the token's smallest unit."""

    __slots__ = ()
    _maximum = 2**256 - 1


class I256(_Word):
    """A signed 256-bit integer, two's complement on the wire, such as a change of a pool's balance."""

    __slots__ = ()
    _signed = True
    _minimum = -(2**255)
    _maximum = 2**255 - 1
