"""Metrics as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ipfsfs.daemon.metrics.table import METRICS, Sample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABEL: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def text(found: Iterable[Sample]) -> str:
    """The page. What the table does not know is left out: an older daemon may say it."""
    by_name: dict[str, list[Sample]] = {}
    for sample in found:
        by_name.setdefault(sample.name, []).append(sample)
    lines = []
    for metric in METRICS:
        unit = f" In {metric.unit}." if metric.unit else ""
        lines += [f"# HELP {metric.name} {metric.meaning}{unit}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in by_name.get(metric.name, []):
            of = f'{{{metric.label}="{(sample.of or "").translate(_LABEL)}"}}' if metric.label else ""
            lines.append(f"{metric.name}{of} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)
