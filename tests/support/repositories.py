"""Repositories in a cache as the client of the Hub leaves them, of which a local Hub has the files too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.hub import LocalHub
from tests.support.mounted import Mounted


@dataclass(slots=True, frozen=True)
class Repository:
    """A repository in a cache, at one revision."""

    at: Path
    commit: str

    def file(self, path: str) -> Path:
        """The link of a file in the snapshot."""
        return self.at / "snapshots" / self.commit / path

    def blob(self, path: str) -> Path:
        """The file that it leads to."""
        return self.at / "blobs" / self.file(path).readlink().name


def downloaded(mount: Mounted, hub: LocalHub, name: str, files: Mapping[str, bytes]) -> Repository:
    """A new revision of a repository on the Hub, and in the cache. Its listing is there as well."""
    commit = hub.add(name, dict(files))
    at = mount.path / "hub" / f"models--{name.replace('/', '--')}"
    (at / "blobs").mkdir(parents=True, exist_ok=True)
    listing = {}
    for path, stored in hub.files(name).items():
        blob = at / "blobs" / stored.etag
        (at / "blobs" / f"{stored.etag}.incomplete").write_bytes(files[path])
        (at / "blobs" / f"{stored.etag}.incomplete").rename(blob)
        link = at / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{stored.etag}")
        listing[path] = {"size": stored.size, "blob_id": stored.oid}
        if stored.sha256:
            listing[path] |= {"lfs_sha256": stored.sha256, "lfs_size": stored.size}
    (at / "trees").mkdir(exist_ok=True)
    (at / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": listing}))
    return Repository(at, commit)


def forget_what_is_kept(mount: Mounted) -> None:
    """Empty the quarantine."""
    for path in (mount.store / "quarantine").iterdir():
        path.unlink()
