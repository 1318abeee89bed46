"""CURVE key pairs in a directory: one for each service, each operator, and the broker.

Two files for each, in the format that czmq and ``zmq.auth`` read (ZPL, https://rfc.zeromq.org/spec/4/):

``NAME.key``
    The public key. The broker has those of all.
``NAME.key_secret``
    Both keys, for nobody but NAME itself: mode 0600.
``NAME.FINGERPRINT.key``
    A public key that was replaced, and until when it is accepted.

A directory that is mounted from a secret store holds no more than its process needs: a service its own secret key and
the broker's public keys, the broker its own secret key and everybody's public keys.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import zmq
from zmq.utils import z85

from mycelium.core.delivery.control import MAX_NAME
from mycelium.core.errors import ConfigError, Problem

BROKER = "broker"
"""The name under which the broker's keys are kept."""

PUBLIC, SECRET = ".key", ".key_secret"

_NAME = re.compile(rf"[a-z0-9_-]{{1,{MAX_NAME}}}")
_LINE = re.compile(r"\s*([a-z-]+)\s*=\s*\"([^\"]*)\"\s*")
_KEY_BYTES = 40
"""Of a key in Z85."""
_Z85 = re.compile(rf"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{{}}@%$#]{{{_KEY_BYTES}}}")

_READ_BY_GROUP, _OF_OTHERS = 0o040, 0o077


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, in Z85 as libzmq takes it.

    Args:
        public: the public key.
        secret: the secret key. Not shown.
    """

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """A new one."""
        public, secret = (key.decode() for key in zmq.curve_keypair())
        return cls(public, secret)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client needs for a CURVE connection to the broker.

    Args:
        name: of the service or operator.
        pair: its keys.
        servers: public keys of the broker, the newest first; during a rotation there are two.
    """

    name: str
    pair: KeyPair
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key in the directory.

    Args:
        name: whose.
        key: in Z85.
        created: ISO 8601, as the file says; empty if it does not.
        accepted_until: when it ends, in seconds since the Unix epoch; None for the current one.
        has_secret: whether the secret key lies beside it.
    """

    name: str
    key: str
    created: str
    accepted_until: float | None
    has_secret: bool

    def is_accepted(self, now: float) -> bool:
        """Whether it opens the door at that time."""
        return self.accepted_until is None or now < self.accepted_until


class Keyring:
    """The keys in a directory. Nothing is remembered: every call reads the files.

    Args:
        directory: where they are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory: Path = directory

    # --- reading -----------------------------------------------------------------------------

    def public_keys(self) -> list[PublicKey]:
        """All public keys, by name, the current one of each first.

        Raises:
            ConfigError: the directory or a file in it cannot be read, or a file holds no key.
        """
        try:
            paths = sorted(path for path in self.directory.iterdir() if path.suffix == PUBLIC)
        except OSError as error:
            advice = "; `mycelium keys init` makes it" if isinstance(error, FileNotFoundError) else ""
            raise _wrong(self.directory, f"cannot be read: {error.strerror}{advice}") from None
        found = [key for path in paths if (key := self._public_key(path)) is not None]
        newest_first = sorted(found, key=lambda key: key.created, reverse=True)
        return sorted(newest_first, key=lambda key: (key.name, key.accepted_until is not None))

    def _public_key(self, path: Path) -> PublicKey | None:
        """The key in a file; None if it has been removed since the directory was read."""
        name, *replaced = path.name.removesuffix(PUBLIC).split(".")
        try:
            values = _read(path)
        except ConfigError:
            if os.path.lexists(path):
                raise
            return None
        until = values.get("accepted-until")
        if replaced and until is None:
            raise _wrong(path, 'has no line accepted-until = "...", which a key that was replaced must have')
        return PublicKey(
            name,
            _key(path, values, "public-key"),
            values.get("created", ""),
            None if until is None else _seconds(path, until),
            os.path.exists(self.directory / f"{name}{SECRET}"),  # noqa: PTH110 - false also for a name that is too long
        )

    def holders(self, now: float) -> dict[str, str]:
        """The name of the holder by public key, for every key that is accepted at that time.

        Args:
            now: seconds since the Unix epoch.

        Raises:
            ConfigError: see :meth:`public_keys`; or two holders have one key.
        """
        found: dict[str, str] = {}
        for public in self.public_keys():
            if public.name == BROKER or not public.is_accepted(now):
                continue
            other = found.setdefault(public.key, public.name)
            if other != public.name:
                raise _wrong(self.directory, f"{other} and {public.name} have the same key; each needs its own")
        return found

    def pair(self, name: str) -> KeyPair:
        """The key pair of a name.

        Raises:
            ConfigError: there is none, others may read it, or the file holds no key pair.
        """
        path = self.directory / f"{name}{SECRET}"
        try:
            mode = path.stat()
        except OSError as error:
            advice = f"cannot be read: {error.strerror}; `mycelium keys add {name}` makes one"
            raise _wrong(path, advice) from None
        # As in PostgreSQL: a secret store may own the file and let the process read it through its group.
        open_to = _OF_OTHERS if mode.st_uid == os.geteuid() else _OF_OTHERS & ~_READ_BY_GROUP
        if stat.S_IMODE(mode.st_mode) & open_to:
            advice = f"has mode {stat.S_IMODE(mode.st_mode):04o}: others may read or write a secret key; chmod 600 it"
            raise _wrong(path, advice)
        values = _read(path)
        secret = _key(path, values, "secret-key")
        public = zmq.curve_public(secret.encode()).decode()
        if values.get("public-key") != public:
            raise _wrong(path, "its public key does not belong to its secret key; `mycelium keys rotate` makes a pair")
        return KeyPair(public, secret)

    def credentials(self, name: str, now: float) -> Credentials:
        """What a client of that name needs.

        Args:
            name: of the service or operator.
            now: seconds since the Unix epoch.

        Raises:
            ConfigError: it has no key pair here, or the broker's public key is not here.
        """
        servers = [key for key in self.public_keys() if key.name == BROKER and key.is_accepted(now)]
        if not servers:
            raise _wrong(self.directory / f"{BROKER}{PUBLIC}", "is missing: copy the broker's public key there")
        return Credentials(name, self.pair(name), tuple(key.key for key in servers))

    def state(self) -> Mapping[str, tuple[int, int]]:
        """What tells that a file or its mode has changed: inode and time of the last change, by file name."""
        found: dict[str, tuple[int, int]] = {}
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if entry.name.endswith((PUBLIC, SECRET)):
                        seen = entry.stat()
                        found[entry.name] = (seen.st_ctime_ns, seen.st_ino)
        except OSError:
            return {}  # it is being replaced; whoever reads the keys will say what is wrong
        return found

    # --- writing -----------------------------------------------------------------------------

    def create(self, name: str, now: float) -> KeyPair:
        """Make a key pair for a new name, and the directory if it is not there.

        Raises:
            ConfigError: the name is not grammatical, or has keys already.
            OSError: they cannot be written.
        """
        self._check(name)
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)  # whatever the umask is
        for suffix in (PUBLIC, SECRET):
            path = self.directory / f"{name}{suffix}"
            if path.exists():
                raise _wrong(path, f"is there already; `mycelium keys rotate {name}` replaces it")
        return self._write(name, now)

    def rotate(self, name: str, overlap_seconds: float, now: float) -> KeyPair:
        """Replace the key pair of a name; the old public key is accepted for a while.

        With an overlap of 0 those that were replaced before end, too: whoever asks for that has lost one.

        The order of the three files matters to whoever reads in between, or after this process was killed: the old key
        is accepted before the new one is there, and the new one before its holder uses it.

        Raises:
            ConfigError: the name is not grammatical, or has no public key here.
            OSError: the new ones cannot be written.
        """
        self._check(name)
        current = self.directory / f"{name}{PUBLIC}"
        if not current.exists():
            raise _wrong(current, f"is not there; `mycelium keys add {name}` makes the first key pair")
        if not overlap_seconds:
            for older in self.directory.glob(f"{name}.*{PUBLIC}"):
                older.unlink()
        values = _read(current)
        key = _key(current, values, "public-key")
        old = self.directory / f"{name}.{fingerprint(key)}{PUBLIC}"
        until = {"accepted-until": _iso(now + overlap_seconds)}
        _write(old, _text(name, {"created": values.get("created", ""), **until}, {"public-key": key}), 0o644)
        return self._write(name, now)

    def forget(self, now: float) -> list[PublicKey]:
        """Remove the files of replaced keys that are not accepted any more; those keys."""
        ended = [key for key in self.public_keys() if not key.is_accepted(now)]
        for key in ended:
            (self.directory / f"{key.name}.{fingerprint(key.key)}{PUBLIC}").unlink(missing_ok=True)
        return ended

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            message = f"the name {name!r}: up to {MAX_NAME} lower-case letters, digits, _ and - are accepted"
            raise _wrong(self.directory, message)

    def _write(self, name: str, now: float) -> KeyPair:
        pair = KeyPair.new()
        made = {"created": _iso(now)}
        _write(self.directory / f"{name}{PUBLIC}", _text(name, made, {"public-key": pair.public}), 0o644)
        both = {"public-key": pair.public, "secret-key": pair.secret}
        _write(self.directory / f"{name}{SECRET}", _text(name, made, both), 0o600)
        return pair


def fingerprint(key: str) -> str:
    """A short name of a public key, for file names and log lines."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def encoded_key(raw: bytes) -> str:
    """The Z85 text of a key of 32 bytes."""
    return bytes(z85.encode(raw)).decode()


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _wrong(path, f"is no key file: byte {error.start} is not ASCII") from None
    return {match[1]: match[2] for match in map(_LINE.fullmatch, text.splitlines()) if match}


def _key(path: Path, values: Mapping[str, str], which: str) -> str:
    key = values.get(which)
    if key is None:
        raise _wrong(path, f'has no line {which} = "..."')
    if not _Z85.fullmatch(key) or any(_number(key[start : start + 5]) >= 1 << 32 for start in range(0, _KEY_BYTES, 5)):
        raise _wrong(path, f"its {which} has {len(key)} characters or is not Z85; a key has {_KEY_BYTES}")
    return key


def _number(five: str) -> int:
    """What five characters of Z85 stand for. It has four bytes in what is a key, which libzmq insists on."""
    number = 0
    for character in five.encode():
        number = number * 85 + z85.Z85MAP[character]
    return number


def _seconds(path: Path, text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _wrong(path, f"accepted-until = {text!r} is no time such as 2027-01-31T12:00:00+00:00")
    return found.timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _text(name: str, about: Mapping[str, str], keys: Mapping[str, str]) -> str:
    warning = "#   SECRET: for this service alone.\n" if "secret-key" in keys else ""
    lines = [f"#   Mycelium CURVE key of {name}.\n{warning}metadata"]
    lines += [f'    {key} = "{value}"' for key, value in {"name": name, **about}.items()]
    lines += ["curve", *(f'    {key} = "{value}"' for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file at once: a reader finds the old or the new one, and nobody a secret with wider permissions."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException as error:
        made.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def _wrong(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", message)])
