"""`ipfsfs top`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import render
from ipfsfs.cli.metrics import samples_of
from ipfsfs.cli.paths import PATH
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import view_of
from ipfsfs.daemon.metrics.table import METRICS
from ipfsfs.daemon.mounts import Mount
from ipfsfs.printed import printable

_COUNTERS: Final = {metric.name for metric in METRICS if metric.kind == "counter"}
_NAMES_MOST: Final = 60
_ROWS: Final = (
    ("lookups", "lookups_total"),
    ("opens", "opens_total"),
    ("  that were native", "native_opens_total"),
    ("reads", "reads_total"),
    ("  that waited", "waited_reads_total"),
    ("  that failed", "failed_reads_total"),
    ("writes", "writes_total"),
    ("reads of leaves that were here", "leaf_hits_total"),
    ("reads of leaves that were fetched", "leaf_misses_total"),
)
_BYTES: Final = (("read", "read_bytes_total"), ("written", "written_bytes_total"))
_SOURCES: Final = (
    ("from other machines", "peers"),
    ("from the Hub", "hub"),
    ("from other origins", "others"),
    ("downloaded by programs", "downloads"),
)
_NOW: Final = (
    ("files being loaded", "loading_files"),
    ("reads waiting", "waiting_reads"),
    ("open files", "open_files"),
)

_Key = tuple[str, str]
"""The name of a metric, and the value of its label, empty where it has none."""


@dataclass(slots=True, frozen=True)
class Metric:
    """A metric (see docs/metrics.md), with its label, and for a counter its growth a second."""

    name: str
    of: str | None
    value: float
    per_second: float | None


@dataclass(slots=True, frozen=True)
class Facts:
    """What was counted in so many seconds; `hit_share`: of reads, those that were answered at once."""

    seconds: float
    hit_share: float | None
    metrics: tuple[Metric, ...]


@click.command(
    short_help="Show reads, hits and fetches as they happen.",
    epilog="Example: ipfsfs top ~/.cache/huggingface",
)
@click.argument("path", type=PATH, required=False)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each count takes.",
)
@click.option("--once", is_flag=True, help="Count once, show that, and end.")
@tells(
    Form(Facts, when="one in a line for each count"),
    help="Print facts for scripts: one object in a line for each count.",
)
def top(path: Path | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show what the view that PATH lies in does just now: requests, what was in memory, what each origin gives.

    Without PATH: the view of the current directory, else the only one. Ends with Ctrl-C. `ipfsfs metrics` prints the
    totals.
    """
    view = view_of(path, "top")
    before = Moment.of(view)
    try:
        while True:
            time.sleep(interval_s)
            now = Moment.of(view)
            _show(view.mountpoint, Interval(before, now), as_json)
            if once:
                return
            before = now
    except KeyboardInterrupt:
        return


def _show(at: Path, interval: Interval, as_json: bool) -> None:
    if as_json:
        tell(interval.facts(), in_a_line=True)
        sys.stdout.flush()
        return
    if sys.stdout.isatty():
        click.clear()
    for line in [str(at), "", *_lines(interval), ""]:
        click.echo(printable(line))


@dataclass(slots=True, frozen=True)
class Moment:
    """The values of all metrics at a time."""

    at: float
    values: Mapping[_Key, float]

    @classmethod
    def of(cls, view: Mount) -> Moment:
        """Now. Raises as `samples_of`."""
        found = samples_of(view)
        return cls(time.monotonic(), {(one.name, one.of or ""): one.value for one in found})

    def value(self, name: str, of: str = "") -> float:
        """The value of a metric; 0 where there is none."""
        return self.values.get((f"ipfsfs_{name}", of), 0.0)

    def labels(self, name: str) -> list[str]:
        """The labels that a metric has values for."""
        return [of for known, of in self.values if known == f"ipfsfs_{name}"]


@dataclass(slots=True, frozen=True)
class Interval:
    """Two moments, and what happened between them."""

    before: Moment
    now: Moment

    def rate(self, name: str, of: str = "") -> float:
        """By how much a counter grew each second; one that began anew has grown from 0."""
        grown = self.now.value(name, of) - self.before.value(name, of)
        return (grown if grown >= 0 else self.now.value(name, of)) / max(self.now.at - self.before.at, 1e-9)

    @property
    def origins(self) -> list[str]:
        """The origins that were asked, and those that gave something."""
        return list(dict.fromkeys(self.now.labels("origin_up") + self.now.labels("fetched_leaves_total")))

    @property
    def hit_share(self) -> float | None:
        """The share of reads that were answered at once, in the interval; None where there were none."""
        reads = self.rate("reads_total") + self.rate("failed_reads_total")
        return max(0.0, 1 - self.rate("waited_reads_total") / reads) if reads else None

    def facts(self) -> Facts:
        """For scripts: for each metric its value, and for a counter its growth a second."""
        metrics = [
            Metric(
                name,
                of or None,
                value,
                round(self.rate(name.removeprefix("ipfsfs_"), of), 3) if name in _COUNTERS else None,
            )
            for (name, of), value in self.now.values.items()
        ]
        return Facts(round(self.now.at - self.before.at, 3), self.hit_share, tuple(metrics))


def _lines(interval: Interval) -> list[str]:
    now = interval.now
    lines = [f"{'':<34}{'a second':>12}{'in all':>16}"]
    lines += [f"{title:<34}{interval.rate(name):>12,.0f}{now.value(name):>16,.0f}" for title, name in _ROWS]
    for title, name in _BYTES:
        lines.append(f"{title:<34}{render.size(int(interval.rate(name))):>12}{render.size(int(now.value(name))):>16}")
    for title, source in _SOURCES:
        if now.value("source_bytes_total", source):
            rate = render.size(int(interval.rate("source_bytes_total", source)))
            lines.append(f"{title:<34}{rate:>12}{render.size(int(now.value('source_bytes_total', source))):>16}")
    share = interval.hit_share
    lines += ["", f"answered at once: {'-' if share is None else f'{share:.1%}'}"]
    lines += ["   ".join(f"{title}: {now.value(name):,.0f}" for title, name in _NOW)]
    if interval.origins:
        lines += ["", f"{'origin':<44}{'a second':>12}{'in all':>12}{'leaves':>10}{'failed':>8}"]
        lines += [_origin(interval, origin) for origin in interval.origins]
    return lines


def _origin(interval: Interval, origin: str) -> str:
    now = interval.now
    down = now.values.get(("ipfsfs_origin_up", origin)) == 0
    return (
        f"{origin[:_NAMES_MOST]:<44}"
        f"{render.size(int(interval.rate('fetched_bytes_total', origin))):>12}"
        f"{render.size(int(now.value('fetched_bytes_total', origin))):>12}"
        f"{now.value('fetched_leaves_total', origin):>10,.0f}"
        f"{now.value('origin_failures_total', origin):>8,.0f}" + ("  does not answer" if down else "")
    )
