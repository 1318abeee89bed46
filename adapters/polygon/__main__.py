"""``python -m adapters.polygon``."""

from adapters.polygon.cli import main

if __name__ == "__main__":
    main()
