"""The keys and rules that a broker goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mycelium.core.access import Access
from mycelium.transport.guard import user_of
from mycelium.transport.keyring import BROKER, KeyPair, Keyring, fingerprint


@dataclass(frozen=True, slots=True)
class Security:
    """What a broker needs to know its clients.

    Args:
        access: who may do what.
        users: the user by public key, of the keys that are accepted.
        pair: the broker's own keys.
    """

    access: Access
    users: Mapping[str, str]
    pair: KeyPair


def security_of(access: Access, keyring: Keyring, now: float) -> Security:
    """What a directory of keys and an access list say at this time. A key of whom the list does not name opens nothing.

    Args:
        access: who may do what.
        keyring: the keys of all.
        now: seconds since the Unix epoch.

    Raises:
        ConfigError: the keys cannot be read, or the broker's own are missing.
    """
    users = {key: user_of(name, fingerprint(key)) for key, name in keyring.holders(now).items() if name in access}
    return Security(access, users, keyring.pair(BROKER))
