"""Counts what the kernel asks of the daemons, by opcode: figures that no noise touches.

    python -m tests.bench.requests [--quick] [--strace] ROW...

Prints for each row, in Markdown, the requests that the bare passthrough and ipfsfs get for one of what the row counts,
and how much processor time the daemon takes for each.
As root, on kernels that have it, by the tracepoint fuse_request_send, which costs nothing but knows no FORGET; else, or
with --strace, by the daemon's reads of /dev/fuse, which makes it so slow that what may be trusted for a second is asked
for more often.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.bench import report
from tests.bench.bench import Bench, Seen, Watch, cpu_seconds, say
from tests.bench.catalogue import ROWS, selected
from tests.bench.material import FULL, QUICK, Scale
from tests.bench.places import Place
from tests.bench.row import BARE, MOUNTED, VIEW, Line, Row

# linux/fuse.h
OPCODES: Final = {
    1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK", 6: "SYMLINK", 8: "MKNOD", 9: "MKDIR",
    10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ", 16: "WRITE", 17: "STATFS",
    18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR", 23: "LISTXATTR", 24: "REMOVEXATTR", 25: "FLUSH",
    26: "INIT", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR", 30: "FSYNCDIR", 31: "GETLK", 32: "SETLK", 33: "SETLKW",
    34: "ACCESS", 35: "CREATE", 36: "INTERRUPT", 37: "BMAP", 38: "DESTROY", 39: "IOCTL", 40: "POLL", 42: "BATCH_FORGET",
    43: "FALLOCATE", 44: "READDIRPLUS", 45: "RENAME2", 46: "LSEEK", 47: "COPY_FILE_RANGE", 50: "SYNCFS", 51: "TMPFILE",
    52: "STATX",
}  # fmt: skip
_COUNTED_BY: Final = {"MiB": 1 << 20, "MB": 1e6, "1,000 stats": 1000.0}
_CPU: Final = "daemon"
_EVENT: Final = "events/fuse/fuse_request_send"
_TRACED: Final = re.compile(r"fuse_request_send: connection \d+ req \d+ opcode (\d+) ")
_WRITTEN: Final = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")
_READ: Final = re.compile(r'read\(\d+, "((?:\\x[0-9a-f]{2})+)"?.* = (\d+)$')


@contextmanager
def tracefs() -> Iterator[Path | None]:
    """Where the kernel's tracing is; mounted for ourselves where nobody has. None where it cannot be had."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "tracefs":
            yield Path(line.split()[1])
            return
    with tempfile.TemporaryDirectory(prefix="ipfsfs-bench-trace-") as directory:
        made = subprocess.run(["mount", "-t", "tracefs", "tracefs", directory], check=False, capture_output=True)
        if made.returncode:
            yield None
            return
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


@contextmanager
def by_tracepoint() -> Iterator[Watch | None]:
    """A watch that counts by the kernel's tracepoint; None where there is none."""
    with tracefs() as tracing:
        if tracing is None or not (tracing / _EVENT).is_dir():
            yield None
            return
        instance = tracing / "instances" / f"ipfsfs-bench-{os.getpid()}"
        instance.mkdir()
        try:
            (instance / "buffer_size_kb").write_text("65536")
            yield lambda place: _traced(instance, place)
        finally:
            instance.rmdir()


@contextmanager
def _traced(instance: Path, place: Place) -> Iterator[Seen]:
    seen: Seen = {}
    (instance / _EVENT / "filter").write_text(f"connection == {os.minor(place.root.stat().st_dev)}")
    (instance / "trace").write_text("")
    (instance / _EVENT / "enable").write_text("1")
    try:
        with cpu_seconds(place) as used:
            yield seen
    finally:
        (instance / _EVENT / "enable").write_text("0")
    text = (instance / "trace").read_text()
    if (written := _WRITTEN.search(text)) is not None and written[1] != written[2]:
        raise RuntimeError(f"the trace has only {written[1]} of {written[2]} requests")
    seen.update(_named(Counter(int(code) for code in _TRACED.findall(text))))
    seen[_CPU] = used["daemon"]


@contextmanager
def by_strace(place: Place) -> Iterator[Seen]:
    """A watch that counts the requests the daemon reads."""
    seen: Seen = {}
    with tempfile.NamedTemporaryFile("r") as said:
        command = ["strace", "-f", "-xx", "-s", "48", "-e", "trace=read", "-o", said.name, "-p", str(place.daemon)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as strace:
            assert strace.stderr is not None
            strace.stderr.readline()  # "attached"
            try:
                yield seen
            finally:
                strace.send_signal(signal.SIGINT)
                strace.communicate()
        codes = [code for line in said if (code := _opcode(line)) is not None]
    seen.update(_named(Counter(codes)))


def _opcode(line: str) -> int | None:
    """The opcode of the request that a traced read brought; a request begins with its length, then the opcode."""
    match = _READ.search(line)
    if match is None:
        return None
    head = bytes.fromhex(match[1].replace("\\x", ""))
    if len(head) < 40 or int.from_bytes(head[:4], "little") != int(match[2]):
        return None
    return int.from_bytes(head[4:8], "little")


def _named(codes: Counter[int]) -> Seen:
    return {OPCODES.get(code, str(code)): float(count) for code, count in codes.items()}


def table(line: Line, bench: Bench) -> str:
    """What was counted for a line, most frequent first."""
    results = report.Results(bench.samples)
    amount = results.amount(line.name)
    each = 1.0 if line.per == "run" else amount / _COUNTED_BY.get(line.per, 1.0)
    counts = {
        place: {code: count / each for sample in bench.samples if (sample.line, sample.place) == (line.name, place)
                for code, count in sample.seen.items()}
        for place in MOUNTED
    }  # fmt: skip
    cpu_s = {place: found.pop(_CPU, None) for place, found in counts.items()}
    codes = sorted({code for found in counts.values() for code in found}, key=lambda code: -counts[BARE].get(code, 0.0))
    shown = [
        f"\n{report.title(line, results, bench.scale)}: requests for one {line.per}\n",
        "| | bare pyfuse3 | ipfsfs |\n|---|--:|--:|",
    ]
    shown += [f"| {code} | {counts[BARE].get(code, 0.0):.3g} | {counts[VIEW].get(code, 0.0):.3g} |" for code in codes]
    totals = {place: sum(found.values()) for place, found in counts.items()}
    shown.append(f"| all | {totals[BARE]:.3g} | {totals[VIEW]:.3g} |")
    if all(used is not None and totals[place] for place, used in cpu_s.items()):
        each_us = {place: 1e6 * (used or 0.0) / totals[place] for place, used in cpu_s.items()}
        shown.append(f"| daemon CPU for each, µs | {each_us[BARE]:.3g} | {each_us[VIEW]:.3g} |")
    return "\n".join(shown)


def count(rows: list[Row], scale: Scale, watch: Watch, within: Path | None) -> None:
    """Measure each row once in each place that is mounted, and print what was seen."""
    with Bench(within, scale, watch) as bench:
        bench.prepare(rows)
        for row in rows:
            say(f"counting: {', '.join(line.name for line in row.lines)}")
            bench.run(row, 1, tuple(name for name in row.places if name in MOUNTED))
            for line in row.lines:
                if any(sample.line == line.name and sample.seen.keys() - {_CPU} for sample in bench.samples):
                    print(table(line, bench), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.requests", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="as `--rows` of `python -m tests.bench` (default: all)")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--strace", action="store_true", help="count by strace, FORGETs too")
    parser.add_argument("--directory", type=Path, help="a directory on the filesystem to measure (default: TMPDIR)")
    options = parser.parse_args()
    rows = selected(options.rows) if options.rows else list(ROWS)
    finding: AbstractContextManager[Watch | None] = by_tracepoint()
    with finding as tracepoint:
        watch = by_strace if options.strace or tracepoint is None else tracepoint
        count(rows, QUICK if options.quick else FULL, watch, options.directory)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing is left mounted")
