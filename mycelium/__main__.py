"""``python -m mycelium`` is the ``mycelium`` command."""

from mycelium.cli.main import main

if __name__ == "__main__":
    main()
