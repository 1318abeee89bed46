"""What is found again after any sequence of steps, by whoever opens the file next."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.polygon.live.cursor import Cursor, Done, Position
from adapters.polygon.live.headers import Header
from adapters.polygon.pools import PoolState, V3State
from contracts.values import Address
from mycelium.core.errors import ConfigError
from tests.unit.adapters.polygon.samples import V2_POOL, V3_POOL

STATES: tuple[PoolState, ...] = (None, (2**112 - 1, 1), (5, 2**100), V3State(2**159, -887272, 2**128 - 1))
POOLS = (V2_POOL, V3_POOL)


def header(number: int, branch: int = 0) -> Header:
    return Header(number, number.to_bytes(31, "big") + bytes([branch]), bytes(32), 1_700_000_000 + 2 * number)


def reopened(path: Path, remembered: int = 256) -> Position:
    cursor = Cursor(path, 137, remembered)
    found = cursor.load()
    cursor.close()
    assert found is not None
    return found


@settings(max_examples=30)  # each step waits for the disk
@given(st.randoms(use_true_random=False))
def test_what_was_noted_is_found(tmp_path_factory: pytest.TempPathFactory, rng: random.Random) -> None:
    """Against a model: blocks, pools' states and the branch, with steps ahead and back, and the file opened anew."""
    path = tmp_path_factory.mktemp("cursor") / "deep" / "cursor.sqlite"
    remembered = rng.randint(3, 8)
    cursor = Cursor(path, 137, remembered)
    assert cursor.load() is None
    blocks, branch, retracted = [header(10)], 0, -1
    states: dict[Address, dict[int, PoolState]] = {pool.pool: {10: rng.choice(STATES)} for pool in POOLS}
    cursor.begin(blocks[0], POOLS[:1], {pool: one[10] for pool, one in states.items()})
    known, kept = list(POOLS[:1]), 1
    for _ in range(rng.randint(0, 25)):
        if rng.random() < 0.3 and kept > 1:
            depth = rng.randint(1, kept - 1)
            kept -= depth
            retracted, branch = blocks[-depth].number, branch + 1
            del blocks[-depth:]
            for changes in states.values():
                for number in [number for number in changes if number >= retracted]:
                    del changes[number]
            cursor.take_back(retracted, branch)
        else:
            done = []
            for _ in range(rng.randint(1, 3)):
                number = blocks[-1].number + rng.randint(1, 2)
                changed = {pool.pool: rng.choice(STATES) for pool in POOLS if rng.random() < 0.5}
                for pool, state in changed.items():
                    states[pool][number] = state
                blocks.append(header(number, branch))
                done.append(Done(blocks[-1], changed))
            new = [pool for pool in POOLS if pool not in known and rng.random() < 0.3]
            known += new
            cursor.advance(done, new)
            kept = min(kept + len(done), remembered + 1)
        if rng.random() < 0.3:
            cursor.close()
            cursor = Cursor(path, 137, remembered)
    cursor.close()
    found = reopened(path, remembered)
    assert (found.branch, found.retracted) == (branch, retracted)
    assert found.blocks == tuple(blocks[-kept:])
    assert found.pools == tuple(known)
    oldest = found.blocks[0].number
    for pool, changes in states.items():
        mine = dict(found.states[pool])
        assert mine.items() <= changes.items()
        for number in range(oldest, blocks[-1].number + 1):
            assert _at(mine, number) == _at(changes, number), "the state after every block that can be gone back to"


def _at(changes: dict[int, PoolState], number: int) -> PoolState:
    return changes[max(block for block in changes if block <= number)]


def test_only_so_much_is_kept(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "c", 137, remembered=10)
    cursor.begin(header(0), POOLS, {V2_POOL.pool: (1, 1), V3_POOL.pool: None})
    for number in range(1, 200):
        cursor.advance([Done(header(number), {V2_POOL.pool: (number, 1)})])
    cursor.close()
    found = reopened(tmp_path / "c")
    assert [block.number for block in found.blocks] == list(range(189, 200))
    assert len(found.states[V2_POOL.pool]) == 11
    assert found.states[V3_POOL.pool] == [(0, None)]


def test_two_cannot_have_it(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "c", 137)
    code = "import sys, pathlib, adapters.polygon.live.cursor as c; c.Cursor(pathlib.Path(sys.argv[1]), 137)"
    other = subprocess.run([sys.executable, "-c", code, tmp_path / "c"], capture_output=True, text=True, check=False)
    assert "does this adapter run already?" in other.stderr
    cursor.close()


def test_the_file_of_another_chain(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "c", 137)
    cursor.begin(header(0), (), {})
    cursor.close()
    with pytest.raises(ConfigError, match="is of chain 137, the settings say 1"):
        Cursor(tmp_path / "c", 1).load()


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ConfigError, match="is no cursor of this adapter"):
        Cursor(tmp_path / "c", 137)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be opened"):
        Cursor(tmp_path / "file" / "c", 137)


def test_a_later_format(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "c", 137)
    cursor._db.execute("PRAGMA user_version = 9")
    cursor.close()
    with pytest.raises(ConfigError, match="has format 9, this version of the adapter reads 1"):
        Cursor(tmp_path / "c", 137)
