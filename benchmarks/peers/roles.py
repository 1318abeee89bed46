"""What the processes of a peer have in common: they say ``ready``, then each line told gets one line of JSON back.

A publisher is told ``publish FIRST COUNT`` and answers when everything has left. A reader is told ``heard NUMBER
SECONDS``: has this one arrived, or does it within these seconds? With that a path is tried until it is in force.
Then it is told ``expect FIRST COUNT``, and at last ``result SECONDS``, which it answers when all have arrived or none
has for so long.

Numbers are kept as they come and compared afterwards, so that every peer pays the same for the check: one call and
one place in a list for each message.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.002
"""How often a reader looks whether a probe has arrived."""


def _say(**answer: object) -> None:
    print(json.dumps(answer), flush=True)


def _numbers(line: str) -> range:
    _, first, count = line.split()
    return range(int(first), int(first) + int(count))


def serve_publishing(publish: Callable[[range], None]) -> None:
    """Publish what is told, until there is nothing more to do. ``publish`` returns when all of it has left."""
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        numbers = _numbers(line)
        began = time.monotonic()
        publish(numbers)
        _say(first=began, sent=time.monotonic())


async def serve_publishing_async(publish: Callable[[range], Awaitable[None]]) -> None:
    """The same in an event loop."""
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        numbers = _numbers(line)
        began = time.monotonic()
        await publish(numbers)
        _say(first=began, sent=time.monotonic())


class Tally:
    """What a reader has received. Whoever receives calls :meth:`take`; the controller is answered in a thread.

    That thread waits for a line or an event all the time, and takes nothing from the one that receives.
    """

    def __init__(self) -> None:
        self._taken: list[int] = []
        self._expected = range(0)
        self._count = 0
        self._last = 0.0
        self._complete = threading.Event()

    def take(self, number: int) -> None:
        """A message has been received and decoded."""
        self._taken.append(number)
        if len(self._taken) == self._count:
            self._last = time.monotonic()
            self._complete.set()

    def take_all(self, numbers: list[int]) -> None:
        """Several have."""
        self._taken += numbers
        if len(self._taken) >= self._count > 0:
            self._last = time.monotonic()
            self._complete.set()

    def serve(self) -> None:
        """Be there for the controller from now on. The process ends with it."""
        threading.Thread(target=self.serve_here, daemon=True).start()

    def serve_here(self) -> None:
        """The same in this thread, for those whose library receives in one of its own."""
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            match line.split():
                case ["heard", number, seconds]:
                    _say(heard=self._hears(int(number), float(seconds)))
                case ["expect", _, _]:
                    self._expect(_numbers(line))
                    _say(expecting=self._count)
                case ["result", seconds]:
                    self._wait(float(seconds))
                    _say(received=len(self._taken), in_order=self._taken == list(self._expected), last=self._last)
                case command:
                    raise ValueError(f"no such command: {command}")
        # Most libraries wait for the next message in a call that nothing ends, and all there is to know is told.
        os._exit(0)

    def _hears(self, number: int, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not (self._taken and self._taken[-1] == number):
            if time.monotonic() > until:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _expect(self, numbers: range) -> None:
        self._complete.clear()
        self._expected, self._taken, self._count = numbers, [], len(numbers)

    def _wait(self, seconds: float) -> None:
        seen = -1
        while not self._complete.wait(seconds) and len(self._taken) > seen:
            seen = len(self._taken)
