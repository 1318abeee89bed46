"""How every command line of this repository ends: what a user got wrong is a sentence, never a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from rich.console import Console

from mycelium.core.errors import ConfigError, MyceliumError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def guarded(app: Callable[[], object]) -> None:
    """Run a command line and end the process with its exit code.

    1 when it failed, 2 when a file or option is wrong, 130 after Ctrl-C.
    """
    console = Console(stderr=True, soft_wrap=True)

    def tell(text: str, code: int) -> None:
        for line in text.splitlines():
            console.print(f"error: {line}", highlight=False, markup=False)
        sys.exit(code)

    try:
        app()
    except ConfigError as error:
        tell(str(error), EXIT_USAGE)
    except MyceliumError as error:
        tell(str(error), EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"{where}{error.strerror or error}", EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
