"""Listing a directory by its path while clients work in it."""

from __future__ import annotations

import os
from pathlib import Path

from ipfsfs.cli.ls import Named, those_there


def test_names_that_change_while_they_are_listed(tmp_path: Path) -> None:
    """A client removes one, and a file takes the place of a link."""
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.incomplete").touch()
    (tmp_path / "model").symlink_to("../blobs/1")
    with os.scandir(tmp_path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    (tmp_path / "model.incomplete").unlink()
    (tmp_path / "model").unlink()
    (tmp_path / "model").write_bytes(b"weights")
    assert list(those_there(entries)) == [Named("config.json", "file", 2, ""), Named("model", "file", 7, "")]
