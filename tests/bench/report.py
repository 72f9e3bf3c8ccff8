"""The results as a table for people, and as JSON for whoever wants to look closer."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ipfsfs import __version__
from tests.bench.bench import Sample
from tests.bench.material import Scale
from tests.bench.row import BARE, PLAIN, VIEW, Aim, Line, Row, Unit

_HEAD: Final = (
    "| | | plain disk | bare pyfuse3 | ipfsfs | ÷ plain | ÷ bare | daemon CPU s, bare | ipfsfs | aim | |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
)
_NOT_MEASURED: Final = ""


class Results:
    """Samples, by line."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._of: dict[tuple[str, str], dict[int, Sample]] = {}
        for sample in samples:
            self._of.setdefault((sample.line, sample.place), {})[sample.round] = sample

    def median(self, line: str, place: str) -> float | None:
        found = self._of.get((line, place))
        return statistics.median(sample.value for sample in found.values()) if found else None

    def seen(self, line: str, place: str, what: str) -> float | None:
        """The median of something seen meanwhile."""
        found = [sample.seen[what] for sample in self._of.get((line, place), {}).values() if what in sample.seen]
        return statistics.median(found) if found else None

    def ratio(self, line: str, place: str) -> float | None:
        """The median of each round's ratio of ipfsfs to a place: what slows a whole round down falls out of it."""
        ours, theirs = self._of.get((line, VIEW), {}), self._of.get((line, place), {})
        ratios = [ours[number].value / theirs[number].value for number in ours if number in theirs]
        return statistics.median(ratios) if ratios else None

    def figure(self, line: str, aim: Aim) -> float | None:
        """What an aim is held against."""
        return self.median(line, VIEW) if aim.against is None else self.ratio(line, aim.against)

    def amount(self, line: str) -> float:
        """How much was done in a measurement."""
        return next((s.amount for (name, _), found in self._of.items() if name == line for s in found.values()), 0.0)


def table(rows: Sequence[Row], results: Results, scale: Scale) -> str:
    """The table in Markdown."""
    lines = [line for row in rows for line in row.lines]
    return "\n".join([*_HEAD, *(_line(line, results, scale) for line in lines)])


def missed(rows: Sequence[Row], results: Results) -> list[str]:
    """The names of the lines whose aim was not met."""
    return [
        line.name
        for row in rows
        for line in row.lines
        if line.aim is not None
        and (figure := results.figure(line.name, line.aim)) is not None
        and not line.aim.met(figure)
    ]


def title(line: Line, results: Results, scale: Scale) -> str:
    """What a line is called, with the sizes it was measured with."""
    sizes = {name: f"{size >> 20} MiB" for name, size in asdict(scale).items() if size >= 1 << 20}
    text = line.title.format(**{**asdict(scale), **sizes})
    amount = results.amount(line.name)
    return f"{text} ({amount / 1e6:.0f} MB)" if line.unit is Unit.SECONDS and amount >= 1e6 else text


def _line(line: Line, results: Results, scale: Scale) -> str:
    cells = [title(line, results, scale), line.unit.text]
    cells += [_number(results.median(line.name, place)) for place in (PLAIN, BARE, VIEW)]
    cells += [_ratio(results.ratio(line.name, place)) for place in (PLAIN, BARE)]
    cells += [_number(results.seen(line.name, place, "daemon")) for place in (BARE, VIEW)]
    figure = results.figure(line.name, line.aim) if line.aim is not None else None
    if line.aim is None or figure is None:
        cells += ["" if line.aim is None else str(line.aim), ""]
    else:
        cells += [str(line.aim), "met" if line.aim.met(figure) else "**missed**"]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return _NOT_MEASURED
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "0"


def _ratio(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    packages = ("pyfuse3", "trio", "huggingface_hub", "hf-xet", "transformers", "datasets", "torch")
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "root": os.geteuid() == 0,
        "packages": {"ipfsfs": __version__, **{name: found for name in packages if (found := _version(name))}},
    }


def as_json(rows: Sequence[Row], samples: Sequence[Sample], scale: Scale) -> dict[str, Any]:
    """Everything."""
    return {
        "machine": machine(),
        "scale": asdict(scale),
        "lines": {
            line.name: {"title": line.title, "unit": line.unit.text, "aim": str(line.aim) if line.aim else None}
            for row in rows
            for line in row.lines
        },
        "samples": [asdict(sample) for sample in samples],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
