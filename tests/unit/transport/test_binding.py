"""Binding over ipc: who may enter, who holds an endpoint, and what the dead have left."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mycelium import PathError
from mycelium.transport import binding
from mycelium.transport.addresses import MAX_IPC_PATH
from mycelium.transport.binding import Hold, bind
from mycelium.transport.sockets import Port


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where sockets are made; not there yet."""
    return tmp_path / "sockets"


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Whoever starts the process has left everything open."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "LOCK_ATTEMPTS", 1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(place: Path, mode: int = 0o750) -> None:
    """The directory, before anything is bound there."""
    place.mkdir(exist_ok=True)
    place.chmod(mode)


def link(place: Path, to: Path) -> None:
    place.symlink_to(to)


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def leave(place: Path, name: str) -> None:
    """What a process leaves that is killed."""
    make(place)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / name))
    (place / f"{name}.lock").touch()


class Bound:
    """A port that is bound as a store's are."""

    def __init__(self, path: Path) -> None:
        self.port = Port(zmq.ROUTER, lambda _burst: None)
        self.hold: Hold | None = None
        try:
            self.hold = bind(self.port, f"ipc://{path}")
        except PathError:
            self.port.close()
            raise

    def close(self) -> None:
        self.port.close()
        assert self.hold is not None
        self.hold.close()


def refusal(path: Path) -> str:
    with pytest.raises(PathError) as caught:
        Bound(path)
    return caught.value.reason


# --- who may enter ------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_umask")
async def test_the_group_may_enter_and_nobody_else(place: Path) -> None:
    bound = Bound(place / "a")
    assert (mode(place), mode(place / "a"), mode(place / "a.lock")) == (0o750, 0o660, 0o600)
    bound.close()


@pytest.mark.usefixtures("no_umask")
async def test_a_socket_has_its_mode_before_anybody_can_connect(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = socket.socket.listen

    def listen(self: socket.socket, backlog: int = 1) -> None:
        seen.append(mode(place / "a"))
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(str(place / "a"))
        real(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listen)
    Bound(place / "a").close()
    assert seen == [0o660]


async def test_a_directory_that_is_there_is_left_as_it_is(place: Path) -> None:
    make(place, 0o770)
    Bound(place / "a").close()
    assert mode(place) == 0o770


@pytest.mark.parametrize("others", [0o777, 0o1777, 0o702])
async def test_where_anybody_may_write_nothing_is_bound(place: Path, others: int) -> None:
    make(place, others)
    assert refusal(place / "a") == (
        f"anybody may write to its directory (mode {others:04o}), and so put other sockets there; "
        "choose one that is written to by its owner and group only: one that is not there yet is made so"
    )
    assert names(place) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("by_a_link", [False, True], ids=["a directory", "a link to one of ours"])
async def test_a_directory_of_another_user_is_refused(place: Path, tmp_path: Path, by_a_link: bool) -> None:
    make(tmp_path / "ours")
    if by_a_link:
        link(place, tmp_path / "ours")
    else:
        make(place)
    os.chown(place, 4711, 4711, follow_symlinks=False)
    assert refusal(place / "a") == (
        "its directory belongs to user 4711, who could put other sockets there; "
        "it should belong to user 0, as whom this runs, or to root"
    )


async def test_a_path_that_is_too_long_is_answered_with_advice(place: Path) -> None:
    spare = MAX_IPC_PATH - len(os.fsencode(place)) - 1
    Bound(place / ("x" * spare)).close()
    assert refusal(place / ("x" * (spare + 1))) == (
        "has 108 bytes, an ipc path has at most 107; choose a shorter socket_dir or a shorter name"
    )


async def test_a_file_that_is_no_socket_is_not_replaced(place: Path) -> None:
    make(place)
    (place / "a").write_text("dear")
    assert refusal(place / "a") == "cannot bind: Address already in use"
    assert names(place) == {"a"}


async def test_a_lock_that_cannot_be_opened_is_a_sentence(place: Path, tmp_path: Path) -> None:
    """A link would lead out of the directory."""
    make(place)
    (place / "a.lock").symlink_to(tmp_path / "elsewhere")
    assert refusal(place / "a").startswith(f"{place}/a.lock cannot be opened: ")
    assert not (tmp_path / "elsewhere").exists()


# --- who holds it -------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_what_is_held_is_not_taken(place: Path) -> None:
    bound = Bound(place / "a")
    inode = (place / "a").stat().st_ino
    assert refusal(place / "a") == "another process is bound there: does this bundle run already?"
    assert (place / "a").stat().st_ino == inode
    bound.close()


async def test_closing_leaves_nothing(place: Path) -> None:
    one, other = Bound(place / "a"), Bound(place / "b")
    assert names(place) == {"a", "a.lock", "b", "b.lock"}
    one.close()
    assert names(place) == {"b", "b.lock"}
    other.close()
    assert names(place) == set()


async def test_closing_twice_does_not_remove_a_successors_socket(place: Path) -> None:
    first = Bound(place / "a")
    first.close()
    second = Bound(place / "a")
    first.close()
    assert names(place) == {"a", "a.lock"}
    second.close()


async def test_closing_does_not_remove_what_has_become_another_ones(place: Path) -> None:
    """Somebody has emptied the directory, and another process has bound there since."""
    first = Bound(place / "a")
    shutil.rmtree(place)
    second = Bound(place / "a")
    first.close()
    assert names(place) == {"a", "a.lock"}
    second.close()


async def test_a_lock_that_was_removed_while_it_was_waited_for_does_not_count(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We open it; its holder removes it and lets go; a third process makes a new one; then we get the lock."""
    make(place)
    lock = place / "a.lock"
    lock.touch()
    third: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if not third:
            lock.unlink()
            third.append(os.open(lock, os.O_RDWR | os.O_CREAT))
            real(third[0], operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "another process is bound there" in refusal(place / "a")
    os.close(third[0])
    Bound(place / "a").close()


async def test_a_lock_that_is_held_for_a_moment_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process cleans up, and holds the lock that a dead one has left while it removes it."""
    leave(place, "a")
    cleaning = os.open(place / "a.lock", os.O_RDWR)
    fcntl.flock(cleaning, fcntl.LOCK_EX)

    def pause(_seconds: float) -> None:
        (place / "a").unlink()
        (place / "a.lock").unlink()
        os.close(cleaning)

    monkeypatch.setattr(time, "sleep", pause)
    Bound(place / "a").close()


# --- what the dead have left --------------------------------------------------------------------


async def test_what_the_dead_have_left_is_removed(place: Path) -> None:
    leave(place, "dead.frames")
    leave(place, "own")
    bound, other = Bound(place / "own"), Bound(place / "other")
    assert names(place) == {"own", "own.lock", "other", "other.lock"}
    bound.close()
    other.close()


async def test_files_of_others_stay(place: Path) -> None:
    """A lock without a socket, and one that says something: ours do not."""
    leave(place, "database")
    (place / "database.lock").write_text("4711")
    (place / "poetry.lock").touch()
    (place / "file").touch()
    (place / "file.lock").touch()
    before = names(place)
    Bound(place / "a").close()
    assert names(place) == before


async def test_a_lock_that_cannot_be_taken_does_not_stop_us(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's: it may not be opened."""
    leave(place, "dead")
    real = os.open

    def open_file(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == "dead.lock":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_file)
    Bound(place / "a").close()
    assert names(place) == {"dead", "dead.lock"}


async def test_a_port_can_be_bound_elsewhere_as_well(place: Path) -> None:
    """Not with the descriptor that it was given before."""
    bound = Bound(place / "a")
    bound.port.bind("tcp://127.0.0.1:*")
    bound.port.bind(f"ipc://{place}/b")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(place / "b"))
    bound.close()


async def test_over_tcp_nothing_is_held() -> None:
    port = Port(zmq.ROUTER, lambda _burst: None)
    assert bind(port, "tcp://127.0.0.1:*") is None
    port.close()
