"""Runs one workload in two places, on plain disk and through the mount, and holds the one to the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.clients import Clients
from tests.support.hub import LocalHub
from tests.support.trees import differences_of_runs


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload runs: the cache `home`, clients set up for it, the Hub, and a directory of no concern to us."""

    home: Path
    hub: LocalHub
    clients: Clients
    outside: Path

    def snapshot(self, repo_id: str, *, kind: str = "models") -> Path:
        """The folder of the one revision of a repository that is in the cache."""
        (found,) = (self.home / "hub" / f"{kind}--{repo_id.replace('/', '--')}" / "snapshots").iterdir()
        return found

    def blob(self, repo_id: str, etag: str) -> Path:
        return self.home / "hub" / f"models--{repo_id.replace('/', '--')}" / "blobs" / etag


Workload = Callable[[Place], Any]


def make_place(home: Path, hub: LocalHub, scratch: Path) -> Place:
    outside = scratch / "outside"
    outside.mkdir(parents=True)
    return Place(home, hub, Clients(home, hub.url, scratch), outside)


def run_twice(workload: Workload, hub: LocalHub, mounted: Callable[..., Any], root: Path) -> Any:
    """Run `workload` on plain disk, then in a new mount; returns what it answered, the same in both places.

    Raises AssertionError if the two answers differ, if the mount ends up with rot, broken promises or degraded, or if
    the directory that is left after unmounting differs from the one on plain disk.
    """
    plain = root / "plain" / "home"
    plain.mkdir(parents=True)
    expected = workload(make_place(plain, hub, root / "plain" / "scratch"))

    viewed = root / "mounted" / "home"
    viewed.mkdir(parents=True)
    mount = mounted(viewed)
    answered = workload(make_place(mount.path, hub, root / "mounted" / "scratch"))
    status = mount.status()
    troubles = {key: status[key] for key in ("rot", "broken_promises", "degraded") if status[key]}
    mount.umount()

    assert answered == expected, f"the mount answered {json.dumps(answered)}\nplain disk {json.dumps(expected)}"
    assert not troubles, f"status tells of {troubles}"
    different = differences_of_runs(plain, viewed)
    assert not different, "\n".join(different)
    return answered
