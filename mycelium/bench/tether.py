"""Becomes another program that does not outlive its parent: ``python -I -S tether.py PARENT PROGRAM ARGUMENT...``.

It is run by its path: importing the package would take longer than all that it does. The alternative, a function that
:class:`subprocess.Popen` runs in the child, must not be used once there are threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); it stays through execve(2)


def main(parent: str, *command: str) -> None:
    """Become ``command``. Where the kernel knows no tether (it is Linux that does), without one."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it has ended already
            os._exit(1)
    os.execvp(command[0], command)  # noqa: S606 - it is the parent that says what


if __name__ == "__main__":
    main(*sys.argv[1:])
