"""The table of metrics. A new metric is a row: name, kind, unit, meaning, and how it is read. What is printed, served
and documented follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.daemon.metrics.facts import Facts

Kind = Literal["counter", "gauge"]
"""A counter only grows while the view is mounted; a gauge is the state of the moment."""


@dataclass(slots=True, frozen=True)
class Metric:
    """`label`: what tells several values of the metric apart, empty where there is one. `read`: the value, or the
    values by label. `unit`: empty for a number of things, which `meaning` names."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    read: Callable[[Facts], float | Mapping[str, float]]
    label: str = ""


@dataclass(slots=True, frozen=True)
class Sample:
    """A value of a metric of the table. `of`: the value of its label, if it has one."""

    name: str
    value: float
    of: str | None = None


_BYTES: Final = "bytes"

METRICS: Final = (
    Metric("ipfsfs_lookups_total", "counter", "", "Names that the kernel looked up.", lambda f: f.counts.lookups),
    Metric("ipfsfs_opens_total", "counter", "", "Files that were opened or created.", lambda f: f.counts.opens),
    Metric(
        "ipfsfs_native_opens_total",
        "counter",
        "",
        "Files that were opened natively: the kernel reads them itself, and no reads of theirs are counted.",
        lambda f: f.counts.native_opens,
    ),
    Metric("ipfsfs_reads_total", "counter", "", "READ requests that were answered.", lambda f: f.counts.reads),
    Metric("ipfsfs_read_bytes_total", "counter", _BYTES, "Bytes in these answers.", lambda f: f.counts.read_bytes),
    Metric(
        "ipfsfs_waited_reads_total",
        "counter",
        "",
        "READ requests that waited for a disk or an origin; all others were answered at once, from memory.",
        lambda f: f.counts.waited_reads,
    ),
    Metric(
        "ipfsfs_failed_reads_total",
        "counter",
        "",
        "READ requests that were answered with an error.",
        lambda f: f.counts.failed_reads,
    ),
    Metric("ipfsfs_writes_total", "counter", "", "WRITE requests that were answered.", lambda f: f.counts.writes),
    Metric("ipfsfs_written_bytes_total", "counter", _BYTES, "Bytes written.", lambda f: f.counts.written_bytes),
    Metric(
        "ipfsfs_leaf_hits_total",
        "counter",
        "",
        "Reads of files that are not wholly here whose leaves were here.",
        lambda f: f.loads.hits,
    ),
    Metric(
        "ipfsfs_leaf_misses_total",
        "counter",
        "",
        "Reads of files that are not wholly here that waited for leaves to be fetched.",
        lambda f: f.loads.misses,
    ),
    Metric(
        "ipfsfs_fetched_leaves_total",
        "counter",
        "",
        "Leaves that were fetched, by the origin that gave them.",
        lambda f: {name: served.leaves for name, served in f.fetcher.served.items()},
        "origin",
    ),
    Metric(
        "ipfsfs_fetched_bytes_total",
        "counter",
        _BYTES,
        "Bytes of leaves that were fetched, by the origin that gave them.",
        lambda f: {name: served.bytes for name, served in f.fetcher.served.items()},
        "origin",
    ),
    Metric(
        "ipfsfs_source_bytes_total",
        "counter",
        _BYTES,
        "Bytes that came to this machine, by where they came from: peers (other machines of the site), hub, others "
        "(other origins), downloads (what programs downloaded and is what its name promises), here (leaves copied from "
        "files of this machine).",
        lambda f: f.sources,
        "source",
    ),
    Metric(
        "ipfsfs_served_bytes_total",
        "counter",
        _BYTES,
        "Bytes of blocks that other machines were given since the server's process began.",
        lambda f: f.served.gave_bytes,
    ),
    Metric(
        "ipfsfs_server_refusals_total",
        "counter",
        "",
        "Requests of other machines since the server's process began that were refused (unsigned), or told to come "
        "back (busy).",
        lambda f: {"unsigned": f.served.refused, "busy": f.served.busy},
        "why",
    ),
    Metric(
        "ipfsfs_offered_bytes",
        "gauge",
        _BYTES,
        "Bytes of files that other machines may have, as far as they are here.",
        lambda f: f.served.blob_bytes,
    ),
    Metric(
        "ipfsfs_origin_questions_total",
        "counter",
        "",
        "Questions that an origin was asked since the fetching process began.",
        lambda f: {state.name: state.asked for state in f.fetcher.origins},
        "origin",
    ),
    Metric(
        "ipfsfs_origin_failures_total",
        "counter",
        "",
        "Questions that an origin did not answer, or with what makes no sense, since the fetching process began.",
        lambda f: {state.name: state.failures for state in f.fetcher.origins},
        "origin",
    ),
    Metric(
        "ipfsfs_origin_up",
        "gauge",
        "",
        "1 where an origin answered its last question, else 0; nothing before the first question.",
        lambda f: {state.name: not state.trouble for state in f.fetcher.origins},
        "origin",
    ),
    Metric("ipfsfs_loading_files", "gauge", "", "Files whose leaves are being fetched.", lambda f: f.loads.loading),
    Metric("ipfsfs_waiting_reads", "gauge", "", "Reads that wait for leaves to be fetched.", lambda f: f.loads.waiting),
    Metric("ipfsfs_open_files", "gauge", "", "Handles of files that are open.", lambda f: len(f.view.handles)),
    Metric("ipfsfs_known_files", "gauge", "", "Files that the kernel knows.", lambda f: len(f.view.nodes)),
    Metric(
        "ipfsfs_unsealed_files",
        "gauge",
        "",
        "Files that are known and wait to be sealed.",
        lambda f: f.view.upkeep.sealing.unsealed,
    ),
    Metric("ipfsfs_wrong_files", "gauge", "", "Files with wrong content, by kind.", lambda f: f.wrong, "kind"),
    Metric(
        "ipfsfs_quarantine_bytes", "gauge", _BYTES, "Bytes that lie in the quarantine.", lambda f: f.quarantine_bytes
    ),
    Metric(
        "ipfsfs_degraded",
        "gauge",
        "",
        "1 while the view goes on without checks or cannot read its store, else 0.",
        lambda f: f.is_degraded,
    ),
    Metric(
        "ipfsfs_resident_memory_bytes",
        "gauge",
        _BYTES,
        "Memory of the daemon, the fetcher and the server.",
        lambda f: f.memory,
        "process",
    ),
    Metric(
        "ipfsfs_start_time_seconds",
        "gauge",
        "seconds",
        "When the view was mounted, since the epoch.",
        lambda f: f.since,
    ),
    Metric("ipfsfs_info", "gauge", "", "Always 1; the version of the daemon.", lambda f: {f.version: 1}, "version"),
)


def samples(facts: Facts) -> Iterator[Sample]:
    """All values of now, in the order of the table."""
    for metric in METRICS:
        found = metric.read(facts)
        if isinstance(found, Mapping):
            yield from (Sample(metric.name, float(value), of) for of, value in found.items())
        else:
            yield Sample(metric.name, float(found))
