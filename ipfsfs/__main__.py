"""`ipfsfs`, and `python -m ipfsfs`."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point. Whoever interrupts a command while its modules are loaded is told no more than later."""
    try:
        from ipfsfs.cli.main import main as run
    except KeyboardInterrupt:
        print("ipfsfs: interrupted", file=sys.stderr)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
