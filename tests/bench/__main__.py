"""Compares plain disk, a bare pyfuse3 passthrough and ipfsfs (everything sealed, every read checked), in turns.

    python -m tests.bench [--quick] [--rows read-warm,scan] [--rounds 5] [--directory DIR] [--json FILE]

Prints a table in Markdown: medians, the ratios of ipfsfs to the others (medians of each round's ratio), and the aims.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.bench import report
from tests.bench.bench import Bench, say
from tests.bench.catalogue import LARGE, NATIVE, ROWS, selected
from tests.bench.material import FULL, QUICK
from tests.bench.row import Row

_ROUNDS = 5
_QUICK_ROUNDS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
    names = ", ".join(line.name for row in (*ROWS, *LARGE) for line in row.lines)
    parser.add_argument("--rows", help=f"only these, by name or how it begins, separated by commas: {names}")
    parser.add_argument("--rounds", type=int, help=f"how often to measure (default {_ROUNDS}, quick {_QUICK_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="less of everything: for a look, not for the record")
    parser.add_argument("--native", action="store_true", help="the rows of files that the kernel reads itself")
    parser.add_argument("--large", action="store_true", help="also what takes minutes: a million files")
    parser.add_argument("--directory", type=Path, help="a directory on the filesystem to measure (default: TMPDIR)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Row]:
    if options.rows:
        try:
            return selected(options.rows.split(","))
        except KeyError as error:
            sys.exit(f"there is no row {error}")
    if options.native:
        return list(NATIVE)
    return [*ROWS, *(LARGE if options.large else ())]


def end_as_with_control_c(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    rows = chosen(options)
    scale = QUICK if options.quick else FULL
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    signal.signal(signal.SIGTERM, end_as_with_control_c)
    if os.geteuid() != 0:
        say("not root: read-ahead stays at 128 KiB, in all rows")
    began = time.monotonic()
    with Bench(options.directory, scale, arguments=("--check", "native") if options.native else ()) as bench:
        bench.prepare(rows)
        for row in rows:
            bench.run(row, rounds)
            results = report.Results(bench.samples)
            for line in row.lines:
                medians = [results.median(line.name, place) for place in bench.places]
                shown = "  ".join("-" if value is None else f"{value:.4g}" for value in medians)
                say(f"{time.monotonic() - began:6.0f} s  {line.name:20} {shown}  {line.unit.text}")
        samples = bench.samples
    results = report.Results(samples)
    print(report.table(rows, results, scale))
    facts = report.machine()
    packages = ", ".join(f"{name} {found}" for name, found in facts["packages"].items())
    print(f"\n{rounds} rounds at most, in {time.monotonic() - began:.0f} s.")
    print(f"{facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}, {packages}.")
    if missed := report.missed(rows, results):
        print(f"\nMissed: {', '.join(missed)}")
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(rows, samples, scale), indent=1))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing is left mounted")
