"""How far a chain has been published, in an SQLite file: what a source that is started again begins with.

It holds the newest blocks that were published with their hashes, the pools, and the states that pools had after those
blocks: enough to go back some blocks, and to go on, without asking a node for states of the past, which few nodes keep.

Everything of a step is in one transaction that is on the disk when the call returns. What has been published is noted
after its messages are safe, so the note may be behind by a step when the process is killed, but never ahead. What is
taken back is noted before it is said, so that no number of a branch is ever used twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.polygon.live.headers import Header
from adapters.polygon.pools import PoolState, V3State
from contracts.market import PoolMetadata
from contracts.values import Address
from mycelium.core.errors import ConfigError, MyceliumError, Problem, WireError
from mycelium.core.message import PayloadCodec

VERSION = 1
"""Of the tables below, in the file's ``user_version``."""

_TABLES = """
CREATE TABLE position (chain_id INTEGER NOT NULL, branch INTEGER NOT NULL, retracted INTEGER NOT NULL) STRICT;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL, parent BLOB NOT NULL, timestamp INTEGER NOT NULL
) STRICT;
CREATE TABLE pools (address BLOB PRIMARY KEY, place INTEGER NOT NULL, metadata BLOB NOT NULL) STRICT;
CREATE TABLE states (
    pool BLOB NOT NULL, block INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (pool, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX states_by_block ON states (block);
"""

_metadata = PayloadCodec(PoolMetadata)


@dataclass(frozen=True, slots=True)
class Done:
    """A block that has been published.

    Args:
        header: the block's.
        states: of the pools that it has changed, after it.
    """

    header: Header
    states: Mapping[Address, PoolState]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source was.

    Args:
        branch: the number of the branch, and ...
        retracted: ... the block that it began with; -1 for the first one.
        blocks: the newest ones that were published and not taken back, oldest first; at least one.
        pools: those that were known, in the order in which they became so.
        states: of each pool, after which block it was in which state, oldest first.
    """

    branch: int
    retracted: int
    blocks: tuple[Header, ...]
    pools: tuple[PoolMetadata, ...]
    states: Mapping[Address, Sequence[tuple[int, PoolState]]]


class Cursor:
    """The file. Its calls wait for the disk: make them in a thread, one at a time.

    Args:
        path: the file, made if it is not there.
        chain_id: the EIP-155 number of the chain.
        remembered: how many blocks can be taken back.

    Raises:
        ConfigError: it cannot be opened, is none of ours, or is of another chain.
    """

    def __init__(self, path: Path, chain_id: int, remembered: int = 256) -> None:
        self._path = path
        self._chain_id = chain_id
        self._remembered = remembered
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._problem(f"cannot be opened: {error}") from None
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            if "locked" in str(error):
                raise self._problem("another process has it open: does this adapter run already?") from None
            raise self._problem(f"is no cursor of this adapter, or damaged: {error}; begin anew without it") from None
        except ConfigError:
            self._db.close()
            raise

    def _open(self) -> None:
        # Whoever holds this lock is the only one: two sources with one cursor would contradict each other.
        self._db.execute("PRAGMA busy_timeout = 2000")
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A transaction is on the disk when it is over: a branch's number must not come back after a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
        elif version != VERSION:
            raise self._problem(f"has format {version}, this version of the adapter reads {VERSION}")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("COMMIT")

    def _problem(self, message: str) -> ConfigError:
        return ConfigError([Problem(str(self._path), "", message)])

    def load(self) -> Position | None:
        """Where the source was; None if it has not begun.

        Raises:
            ConfigError: it was on another chain, or is damaged.
        """
        try:
            return self._load()
        except (sqlite3.Error, WireError, ValueError, TypeError) as error:
            raise self._problem(f"is damaged: {error}; begin anew without it") from None

    def _load(self) -> Position | None:
        found = self._db.execute("SELECT chain_id, branch, retracted FROM position").fetchone()
        if found is None:
            return None
        chain_id, branch, retracted = found
        if chain_id != self._chain_id:
            raise self._problem(f"is of chain {chain_id}, the settings say {self._chain_id}")
        blocks = self._db.execute("SELECT number, hash, parent, timestamp FROM blocks ORDER BY number")
        pools = self._db.execute("SELECT metadata FROM pools ORDER BY place")
        states: dict[Address, list[tuple[int, PoolState]]] = {}
        for pool, block, state in self._db.execute("SELECT pool, block, state FROM states ORDER BY pool, block"):
            states.setdefault(Address(pool), []).append((block, _state(state)))
        return Position(
            branch,
            retracted,
            tuple(Header(*block) for block in blocks),
            tuple(_metadata.decode(metadata, 1)[0] for (metadata,) in pools),
            states,
        )

    def begin(self, header: Header, pools: Iterable[PoolMetadata], states: Mapping[Address, PoolState]) -> None:
        """Begin after a block.

        Args:
            header: the block's.
            pools: the pools that are known.
            states: theirs, after that block.
        """
        with self._transaction():
            self._db.execute("INSERT INTO position VALUES (?, 0, -1)", (self._chain_id,))
            self._add([Done(header, states)], pools)

    def advance(self, done: Sequence[Done], pools: Iterable[PoolMetadata] = ()) -> None:
        """Blocks have been published, and their messages are safe.

        Args:
            done: the blocks, in order.
            pools: those that have become known since.
        """
        with self._transaction():
            self._add(done, pools)
            self._forget()

    def know(self, pools: Iterable[PoolMetadata], block: int, states: Mapping[Address, PoolState]) -> None:
        """Pools have become known that were there before, with these states after a block."""
        with self._transaction():
            self._add_pools(pools)
            self._add_states(block, states)

    def take_back(self, block: int, branch: int) -> None:
        """A block and all above it are about to be taken back: what comes now is of another branch."""
        with self._transaction():
            self._db.execute("DELETE FROM blocks WHERE number >= ?", (block,))
            self._db.execute("DELETE FROM states WHERE block >= ?", (block,))
            self._db.execute("UPDATE position SET branch = ?, retracted = ?", (branch, block))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise MyceliumError(f"{self._path} cannot be written to: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _add(self, done: Sequence[Done], pools: Iterable[PoolMetadata]) -> None:
        self._add_pools(pools)
        for one in done:
            header = one.header
            row = (header.number, header.hash, header.parent, header.timestamp)
            self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?)", row)
            self._add_states(header.number, one.states)

    def _add_pools(self, pools: Iterable[PoolMetadata]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO pools VALUES (?, (SELECT count(*) FROM pools), ?)",
            [(bytes(pool.pool), _metadata.encode([pool])) for pool in pools],
        )

    def _add_states(self, block: int, states: Mapping[Address, PoolState]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?, ?)",
            [(bytes(pool), block, _text(state)) for pool, state in states.items()],
        )

    def _forget(self) -> None:
        """Leave out what nobody goes back to: blocks beyond those remembered, and states before the oldest of them."""
        query = "SELECT number FROM blocks ORDER BY number DESC LIMIT 1 OFFSET ?"
        oldest = self._db.execute(query, (self._remembered,)).fetchone()
        if oldest is None:
            return
        self._db.execute("DELETE FROM blocks WHERE number < ?", oldest)
        self._db.execute(
            "DELETE FROM states WHERE block < ?1 AND EXISTS (SELECT 1 FROM states AS newer"
            " WHERE newer.pool = states.pool AND newer.block > states.block AND newer.block <= ?1)",
            oldest,
        )


def _text(state: PoolState) -> str:
    """SQLite's integers have 64 bits, reserves and prices more: they are kept as decimal text."""
    if isinstance(state, V3State):
        return f"v3 {state.sqrt_price_x96} {state.tick} {state.liquidity}"
    return "unknown" if state is None else f"v2 {state[0]} {state[1]}"


def _state(text: str) -> PoolState:
    kind, *values = text.split()
    numbers = [int(value) for value in values]
    if kind == "v3":
        return V3State(*numbers)
    return None if kind == "unknown" else (numbers[0], numbers[1])
