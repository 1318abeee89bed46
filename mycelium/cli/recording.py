"""The files beside the journal of a recording: ``recording.json`` says what it is, ``INCOMPLETE`` what it lacks."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mycelium.core.delivery.frames import StreamKey
from mycelium.core.errors import ConfigError, Problem
from mycelium.spec.model import ContractSpec
from mycelium.transport.gathering import Loss

DESCRIPTION = "recording.json"
INCOMPLETE = "INCOMPLETE"

VERSION = 1
"""Of both files."""

UNDER_WAY = "it has not ended in order: it is being recorded, or the recorder was killed"

MAX_STREAMS = 1_000
"""Streams of which INCOMPLETE says what is missing, one by one. Of the others it says how much, together."""

T = TypeVar("T")


class RecordedContract(msgspec.Struct, frozen=True):
    """A contract as the recorded system had it.

    Args:
        name: None if its ``system.yaml`` did not know it.
        fingerprint: hex; None as above.
    """

    name: str | None = None
    fingerprint: str | None = None


class RecordedPlace(msgspec.Struct, frozen=True):
    """Where the recording of a stream begins: behind message ``after``."""

    topic: str
    source: str
    epoch: str
    after: int


class Description(msgspec.Struct, frozen=True):
    """``recording.json``.

    Args:
        system: its name.
        mycelium: the version of the recorder.
        begun: ISO 8601, in UTC.
        ended: the same; None while it is recorded.
        pattern: which topics.
        contract: the only contract, as it was asked for; None for all.
        contracts: by type id.
        sources: names of service instances by their hash, hex.
        messages: recorded so far, as of the last end.
        streams: the same.
        stores: those that have said where to begin, and which instance it was.
        places: what they have said.
        version: of this format.
    """

    system: str
    mycelium: str
    begun: str
    pattern: str
    contracts: dict[str, RecordedContract]
    ended: str | None = None
    contract: str | None = None
    sources: dict[str, str] = {}
    messages: int = 0
    streams: int = 0
    stores: dict[str, str] = {}
    places: tuple[RecordedPlace, ...] = ()
    version: int = VERSION


class LostStream(msgspec.Struct):
    """What is missing of one stream.

    Args:
        store: that had it.
        topic: its topic.
        source: name of the publishing service instance, or its hash.
        source_id: the hash, hex.
        epoch: of its incarnation.
        missing: messages, by reason.
        first: the first one that is missing.
        last: the last one.
    """

    store: str
    topic: str
    source: str
    source_id: str
    epoch: str
    missing: dict[str, int]
    first: int
    last: int


class Lacks(msgspec.Struct):
    """``INCOMPLETE``.

    Args:
        since: ISO 8601, in UTC.
        why: sentences.
        missing: messages that are known to be missing, in all.
        streams: of which, one by one.
        others: messages of further streams, by reason.
        unknown: how often nobody knows what and how much is missing, by store and reason.
        version: of this format.
    """

    since: str
    why: list[str] = []
    missing: int = 0
    streams: list[LostStream] = []
    others: dict[str, int] = {}
    unknown: dict[str, int] = {}
    version: int = VERSION

    @property
    def has_losses(self) -> bool:
        """Whether anything is missing for good."""
        return bool(self.missing or self.unknown)


class Losses:
    """What a recording lacks.

    Args:
        directory: of the recording.
        lacks: what an earlier recorder has left, or what there is at the beginning.
    """

    def __init__(self, directory: Path, lacks: Lacks) -> None:
        self.path: Path = directory / INCOMPLETE
        self.lacks = lacks
        self._streams = {
            StreamKey(int(lost.source_id, 16), int(lost.epoch), lost.topic): lost for lost in lacks.streams
        }

    @property
    def reached(self) -> dict[StreamKey, int]:
        """The last message of each stream that is known to be missing."""
        return {stream: lost.last for stream, lost in self._streams.items()}

    def add(self, losses: Iterable[Loss], names: Mapping[int, str]) -> None:
        """Take note of losses, and write it down."""
        lacks = self.lacks
        for loss in losses:
            lacks.missing += loss.messages
            if loss.stream is None:
                about = f"{loss.store}: {loss.why}"
                lacks.unknown[about] = lacks.unknown.get(about, 0) + 1
                continue
            lost = self._streams.get(loss.stream)
            if lost is None and len(self._streams) >= MAX_STREAMS:
                lacks.others[loss.why] = lacks.others.get(loss.why, 0) + loss.messages
                continue
            if lost is None:
                source = f"{loss.stream.source:016x}"
                name = names.get(loss.stream.source, source)
                lost = self._streams[loss.stream] = LostStream(
                    loss.store, loss.stream.topic, name, source, str(loss.stream.epoch), {}, loss.first, loss.last
                )
                lacks.streams.append(lost)
            lost.missing[loss.why] = lost.missing.get(loss.why, 0) + loss.messages
            lost.last = max(lost.last, loss.last)
        self.write()

    def write(self, *why: str) -> None:
        """Write it down. On a full disk what stood there stays.

        Args:
            why: what has ended the recording; nothing while it goes on.
        """
        self.lacks.why = [*(why or (UNDER_WAY,)), *self.sentences()]
        write_whole(self.path, self.lacks)

    def sentences(self) -> list[str]:
        """What is missing, and why, in few words."""
        lacks = self.lacks
        by_reason = Counter(lacks.others)
        for lost in lacks.streams:
            by_reason.update(lost.missing)
        found = [f"{number:,} message{'' if number == 1 else 's'} {why}" for why, number in by_reason.items()]
        return found + [f"{about}, nobody knows how many" for about in lacks.unknown]


def read(path: Path, kind: type[T]) -> T | None:
    """One of the files; None if it is not there.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise ConfigError([Problem(str(path.parent), "", "is no directory")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    except msgspec.MsgspecError as error:
        raise ConfigError([Problem(str(path), "", f"is not what a recorder has written: {error}")]) from None
    version = getattr(found, "version", VERSION)
    if version != VERSION:
        raise ConfigError([Problem(str(path), "version", f"this program reads {VERSION}", version)])
    return found


def write_whole(path: Path, value: msgspec.Struct) -> None:
    """Write one of the files, whole or not at all, and to the disk.

    Raises:
        OSError: the disk refuses. What was there before is still there.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def fingerprint_of(contract: ContractSpec) -> str:
    """The fingerprint that the class of a contract has if it is what ``system.yaml`` says, hex."""
    lines = [f"{contract.type_id} {contract.topic}", *(f"{name}: {text}" for name, text in contract.fields.items())]
    return hashlib.sha256("\n".join(lines).encode()).digest()[:8].hex()
