"""atheris over one of `targets`: `python -m tests.fuzz.run TARGET [libFuzzer's options] CORPUS...`."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Run until the options say that it is enough; a find ends it, and is written to a file."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["ipfsfs"]):
        from tests.fuzz.targets import TARGETS, timed
    atheris.Setup([sys.argv[0], *options], timed(TARGETS[name]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
