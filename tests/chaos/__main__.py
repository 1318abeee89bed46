"""``make chaos``: a run at full length. The last line says how it went."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.controller import Controller, make_bundled_plan, make_plan
from tests.chaos.plan import kills


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="to publish in all (default %(default)s)")
    parser.add_argument(
        "--broker-kills", type=int, default=5, help="how often the broker is killed (default %(default)s)"
    )
    parser.add_argument(
        "--stop-seconds", type=float, default=10.0, help="how long a reader is stopped (default %(default)s)"
    )
    parser.add_argument("--bundled", action="store_true", help="without a broker: each publisher keeps a journal")
    parser.add_argument("--without-keys", action="store_true", help="in plain text, and without the access list")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and journal")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    say(f"logs and journal in {directory}")
    if options.bundled:
        plan = make_bundled_plan(directory, options.messages)
    else:
        plan = make_plan(directory, options.messages, with_keys=not options.without_keys)
    happening = kills(plan, options.broker_kills, options.stop_seconds)
    if options.bundled:
        happening = tuple(event for event in happening if event[2] != "broker")
    plan = replace(plan, events=happening)
    keep = True
    try:
        verdict = asyncio.run(Controller(plan, say).run())
        keep = options.keep or not verdict.is_good
        if verdict.unseen:
            say(f"{verdict.unseen} messages that publish() returned for were never seen")
        say("done" if verdict.is_good else "a promise was broken")
        print(verdict)
        sys.exit(0 if verdict.is_good else 1)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if not keep:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
