"""Renames through the view behave as on plain disk: all kinds over all kinds, with every flag."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import renameat2
from tests.support.twins import Twins, outcome, shown

pytestmark = pytest.mark.filesystem

KINDS = ["file", "empty", "link", "link-to-folder", "dangling", "folder", "full", "fifo", "missing"]


def furnish(root: Path) -> None:
    for side in ("a", "b"):
        here = root / side
        here.mkdir()
        (here / "file").write_bytes(side.encode())
        (here / "empty").touch()
        (here / "link").symlink_to("file")
        (here / "link-to-folder").symlink_to("folder")
        (here / "dangling").symlink_to("nowhere")
        (here / "folder").mkdir()
        (here / "full").mkdir()
        (here / "full" / "below").write_bytes(side.encode() * 2)
        os.mkfifo(here / "fifo")


@pytest.mark.parametrize("flags", [0, 1, 2], ids=["plainly", "noreplace", "exchange"])
@pytest.mark.parametrize("target", KINDS)
def test_rename_of_all_kinds_over_all_kinds(twins: Twins, target: str, flags: int) -> None:
    def work(root: Path) -> Any:
        came = []
        for kind in KINDS:
            here = root / kind
            here.mkdir()
            furnish(here)
            with os.scandir(here / "a") as _:
                pass
            source, over = os.fsencode(here / "a" / kind), os.fsencode(here / "b" / target)
            came.append(outcome(partial(renameat2, source, over, flags)))
            for side in ("a", "b"):
                for name in KINDS:
                    came.append(outcome(lambda path=here / side / name: shown(path.lstat())))  # type: ignore[misc]  # noqa: PERF401
        return came

    twins.same(work)


def test_renames_that_make_no_sense(twins: Twins) -> None:
    def work(root: Path) -> Any:
        furnish(root)
        a = root / "a"
        os.link(a / "file", a / "same")
        pairs = [
            ("full", "full/below"),
            ("full", "full/into/itself"),
            ("full", "full"),
            ("file", "same"),
            ("same", "file"),
            ("file", "file/below"),
            (".", "x"),
            ("full/.", "x"),
            ("full/..", "x"),
            ("full", "."),
            ("missing", "missing"),
            ("file", ""),
            ("full/below", "full"),
            ("folder", "folder/"),
            ("file", "new/"),
        ]
        return [outcome(lambda pair=pair: os.rename(f"{a}/{pair[0]}", f"{a}/{pair[1]}")) for pair in pairs]  # type: ignore[misc]

    twins.same(work)


def test_a_directory_is_renamed_with_files_open_and_mapped_inside(twins: Twins) -> None:
    """`datasets` builds in `<hash>.incomplete/` and renames the directory."""

    def work(root: Path) -> Any:
        (root / "h.incomplete" / "sub").mkdir(parents=True)
        fd = os.open(root / "h.incomplete" / "sub" / "data.arrow", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"before")
        folder = os.open(root / "h.incomplete" / "sub", os.O_RDONLY)
        os.rename(root / "h.incomplete", root / "h")
        os.write(fd, b" and after")
        os.ftruncate(fd, 12)
        os.fchmod(fd, 0o640)
        found = [shown(os.fstat(fd)), os.listdir(folder), (root / "h" / "sub" / "data.arrow").read_bytes()]
        os.close(os.open("made-by-descriptor", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        found.append(outcome(lambda: os.stat(root / "h.incomplete")))
        os.rename(root / "h" / "sub", root / "elsewhere")
        os.lseek(folder, 0, os.SEEK_SET)  # plain Btrfs goes on with what was there when it was opened, or began anew
        found.append(sorted(os.listdir(folder)))
        os.close(fd)
        os.close(folder)
        return found

    twins.same(work)


def test_types_in_listings(twins: Twins) -> None:
    def work(root: Path) -> Any:
        furnish(root)
        with os.scandir(root / "a") as entries:
            return sorted(
                (
                    entry.name,
                    entry.is_file(follow_symlinks=False),
                    entry.is_dir(follow_symlinks=False),
                    entry.is_symlink(),
                )
                for entry in entries
            )

    twins.same(work)
