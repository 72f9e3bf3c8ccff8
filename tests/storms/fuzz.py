"""atheris over one of `targets`: `python -m tests.storms.fuzz TARGET SEEDS [libFuzzer's options]`.

atheris is in no lock; the campaign installs it into an environment of its own and lends it the packages of this one.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Run until the options say that it is enough; a find ends it, and is written to a file."""
    name, seeds, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["ipfsfs"]):
        from tests.storms.targets import TARGETS, timed
    atheris.Setup([sys.argv[0], *options, seeds], timed(TARGETS[name]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
