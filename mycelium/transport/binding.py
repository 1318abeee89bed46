"""Binding an endpoint: who may connect over ipc, who holds it, and what the dead have left behind.

An ipc socket is a file, and its name says neither whether its process lives nor who has put it there. A file beside
it, ``<socket>.lock``, answers the first: whoever lives holds its lock, and the kernel lets go of what the dead held.
The directory answers the second: nobody but us, our group and root may put anything into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from pathlib import Path

import structlog
import zmq

from mycelium.core.errors import PathError
from mycelium.transport.addresses import MAX_IPC_PATH
from mycelium.transport.sockets import Port

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("store")

DIRECTORY_MODE = 0o750
SOCKET_MODE = 0o660

BACKLOG = 100
"""Connections that wait to be accepted: what libzmq takes if it is not told."""

LOCK_ATTEMPTS, LOCK_PAUSE = 25, 0.01
"""A process that cleans up holds the locks of the dead for a moment, in which their names may be wanted again."""


class Hold:
    """An ipc endpoint that this process holds: nobody else binds there.

    Args:
        path: of the socket.
        descriptor: of its lock file, locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Remove socket and lock file, then let go: the other way round they could be another process's."""
        if self._descriptor is None:
            return
        lock = _lock_of(self._path)
        with contextlib.suppress(OSError):  # what cannot be removed now, the next one that binds here removes
            if _is_there(lock, self._descriptor):
                if self._path.is_socket():
                    self._path.unlink()
                lock.unlink()
        os.close(self._descriptor)
        self._descriptor = None


def bind(port: Port, endpoint: str) -> Hold | None:
    """Bind a port; over ipc its directory is made, and others of the group may connect.

    Returns:
        Over ipc, what holds the endpoint. Close it after the port.

    Raises:
        PathError: the endpoint is taken, too long, or where anybody could put another socket in its place.
    """
    if not endpoint.startswith("ipc://"):
        port.bind(endpoint)
        return None
    path = Path(endpoint.removeprefix("ipc://"))
    length = len(os.fsencode(path))
    if length > MAX_IPC_PATH:
        advice = "choose a shorter socket_dir or a shorter name"
        raise PathError(endpoint, f"has {length} bytes, an ipc path has at most {MAX_IPC_PATH}; {advice}")
    _make_directory(endpoint, path.parent)
    hold = _hold(endpoint, path)
    try:
        remove_stale(path.parent)
        descriptor = _listen(endpoint, path)
        try:
            # libzmq would bind by the umask, and remove the file when it comes round to it after the socket was
            # closed, by when it may be a successor's. A socket that it is given, it leaves where it is.
            port.set_options({zmq.USE_FD: descriptor})
            port.bind(endpoint)
        except BaseException:
            os.close(descriptor)
            raise
        port.set_options({zmq.USE_FD: -1})  # it counts for what is bound from now on, and that number is libzmq's now
    except BaseException:
        hold.close()
        raise
    return hold


def remove_stale(directory: Path) -> None:
    """Remove the sockets of processes that have died: those with a lock that nobody holds.

    Files of others that end in ``.lock`` stay: ours are empty, and beside a socket.
    """
    for lock in directory.glob("*.lock"):
        path = lock.with_name(lock.name.removesuffix(".lock"))
        with contextlib.suppress(OSError):  # it is another user's, or has just gone
            if lock.lstat().st_size == 0 and path.is_socket():
                hold = _try_to_hold(path, os.O_RDWR)
                if hold is not None:
                    hold.close()
                    log.info("a socket was removed, whose process has died", socket=str(path))


def _make_directory(endpoint: str, directory: Path) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        itself, target = directory.lstat(), directory.stat()
    except OSError as error:
        raise PathError(endpoint, f"its directory cannot be made: {error.strerror}") from None
    # One that was there stays as it is. It may be group-writable: bundles of several users can share one of root's.
    for owner in (itself.st_uid, target.st_uid):  # of a link, then of where it leads
        if owner not in (os.geteuid(), 0):
            raise PathError(
                endpoint,
                f"its directory belongs to user {owner}, who could put other sockets there; "
                f"it should belong to user {os.geteuid()}, as whom this runs, or to root",
            )
    if target.st_mode & stat.S_IWOTH:
        # With the sticky bit as well: nobody could replace our sockets, but anybody could be there before us.
        raise PathError(
            endpoint,
            f"anybody may write to its directory (mode {stat.S_IMODE(target.st_mode):04o}), and so put other sockets "
            f"there; choose one that is written to by its owner and group only: one that is not there yet is made so",
        )


def _hold(endpoint: str, path: Path) -> Hold:
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE)
        try:
            hold = _try_to_hold(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise PathError(endpoint, f"{_lock_of(path)} cannot be opened: {error.strerror}") from None
        if hold is not None:
            return hold
    raise PathError(endpoint, "another process is bound there: does this bundle run already?")


def _try_to_hold(path: Path, flags: int) -> Hold | None:
    lock = _lock_of(path)
    descriptor = os.open(lock, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed it after we opened it: then the lock that we have is of no file, and
        # another process can have that of the file that is there now.
        if _is_there(lock, descriptor):
            return Hold(path, descriptor)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the file of a path is the one that is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _listen(endpoint: str, path: Path) -> int:
    """A socket that listens; its descriptor."""
    try:
        if path.is_socket():  # of a process that has died: we hold its lock
            path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(0)  # or accepting what has gone again would hold up libzmq
            made.bind(os.fspath(path))
            # By the umask it may be open to everybody until here. Nobody can connect before it listens, and the
            # directory keeps everybody but the group out in any case.
            path.chmod(SOCKET_MODE)
            made.listen(BACKLOG)
            return made.detach()
    except OSError as error:
        raise PathError(endpoint, f"cannot bind: {error.strerror}") from None


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
