"""`ipfsfs`, and `python -m ipfsfs`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point. Whoever interrupts a command while its modules are loaded is told no more than later."""
    _have_standard_streams()
    try:
        from ipfsfs.cli.main import main as run
    except KeyboardInterrupt:
        print("ipfsfs: interrupted", file=sys.stderr)
        sys.exit(1)
    run()


def _have_standard_streams() -> None:
    """Open those that are closed, for some supervisors start programs so: else what is opened next gets their numbers,
    and is written to as if it were they."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()
