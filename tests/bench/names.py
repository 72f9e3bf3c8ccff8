"""Looking things up in a cache: stat through the links of snapshots, cache lookups, the scan of everything."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.bench import material
from tests.bench.bench import At
from tests.bench.row import BARE, PLAIN, Aim, Done, Line, Row, Unit

_LINKED: Final = 500
_PASSES: Final = 20


def ready_hub() -> None:
    """Import what looks up and scans."""
    import_module("huggingface_hub.file_download")
    import_module("huggingface_hub.utils._cache_manager")


def stat_each(root: str, links: int, passes: int) -> Done:
    paths = [str(path) for path in _links(Path(root), links)]
    began = time.perf_counter()
    for _ in range(passes):
        for path in paths:
            os.stat(path)
    return time.perf_counter() - began, len(paths) * passes


def look_up(root: str, lookups: int, repositories: int) -> Done:
    from huggingface_hub import try_to_load_from_cache

    cache = os.path.join(root, "hub")
    wanted = [material.repository(number % repositories) for number in range(lookups)]
    began = time.perf_counter()
    for repo_id in wanted:
        found = try_to_load_from_cache(repo_id, "config.json", cache_dir=cache)
        assert isinstance(found, str), repo_id
        with open(found) as config:
            config.read()
    return time.perf_counter() - began, lookups


def scan(root: str, repositories: int) -> Done:
    from huggingface_hub import scan_cache_dir

    began = time.perf_counter()
    found = scan_cache_dir(os.path.join(root, "hub"))
    seconds = time.perf_counter() - began
    assert len(found.repos) >= repositories, found
    assert not found.warnings, found.warnings
    return seconds, repositories * material.FILES_EACH


def stat_links(at: At) -> None:
    at.run(stat_each, str(at.root), _LINKED, 1)
    at.timed("stat-links", stat_each, str(at.root), _LINKED, _PASSES)


def look_up_many(at: At) -> None:
    at.expire()
    at.timed("lookups-many", look_up, str(at.root), at.scale.lookups, at.scale.repositories, ready=ready_hub)


def look_up_one(at: At) -> None:
    at.timed("lookups", look_up, str(at.root), at.scale.lookups, 1, ready=ready_hub)


def scans(at: At) -> None:
    at.place.remount()
    for line in ("scan-first", "scan-second"):
        at.timed(line, scan, str(at.root), at.scale.repositories, ready=ready_hub)


def _links(root: Path, count: int) -> list[Path]:
    names = material.file_names()
    found = []
    for number in range(-(-count // len(names))):
        repo_id = material.repository(number)
        snapshot = material.folder(root, repo_id) / "snapshots" / material.commit(repo_id)
        found += [snapshot / name for name in names]
    return found[:count]


_NEEDS: Final = ("repositories",)

ROWS: Final = (
    Row(
        stat_links,
        (Line("stat-links", "stat through symlinks", Unit.PER_S, Aim(PLAIN, at_least=0.7), "1,000 stats"),),
        _NEEDS,
    ),
    Row(
        look_up_one,
        (
            Line(
                "lookups",
                "{lookups:,} cache lookups + config reads",
                Unit.PER_S,
                Aim(BARE, at_least=3),
                "lookup",
            ),
        ),
        _NEEDS,
    ),
    Row(
        look_up_many,
        (Line("lookups-many", "the same, each in another repository", Unit.PER_S, per="lookup"),),
        _NEEDS,
    ),
    Row(
        scans,
        (
            Line(
                "scan-first",
                "scan_cache_dir, {repositories:,} repositories of 12 files, first",
                Unit.SECONDS,
                Aim(PLAIN, at_most=3),
                "file",
            ),
            Line("scan-second", "the same, second", Unit.SECONDS, Aim(PLAIN, at_most=2), "file"),
        ),
        _NEEDS,
        rounds_most=3,
    ),
)
