"""What is in a cache, counted from plain directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfsfs.exchange.overview import Entry, Known, Overview, overview
from ipfsfs.store.extents import extent_name
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import Reference
from tests.support.dags import raw

SHA = [f"{digit}" * 64 for digit in "abcdef"]
COMMIT = "c" * 40


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)


def count(root: Path, known: Known | None = None) -> Overview:
    fd = os.open(root, os.O_PATH)
    try:
        return overview(fd, bytes(root), known or Known())
    finally:
        os.close(fd)


def by_name(found: Overview) -> dict[str, Entry]:
    return {entry.name: entry for entry in found.entries}


def test_a_repository_is_one_line_with_all_its_revisions(tmp_path: Path) -> None:
    for commit in (COMMIT, "d" * 40):
        write(tmp_path / "hub" / "models--org--name" / "snapshots" / commit / "model.bin", f"../../blobs/{SHA[0]}")
    write(tmp_path / "hub" / "models--org--name" / "blobs" / SHA[0], b"x" * 5000)
    write(tmp_path / "hub" / "models--org--name" / "refs" / "main", b"c" * 40)
    write(tmp_path / "hub" / "datasets--org--name--more" / "blobs" / SHA[1], b"x" * 70)
    write(tmp_path / "hub" / "spaces--alone" / "refs" / "main", b"d" * 40)
    write(tmp_path / "datasets" / "org___name" / "data.arrow", b"x" * 90_000)
    found = count(tmp_path)
    assert [(entry.kind, entry.name, entry.size, entry.files) for entry in found.entries] == [
        ("model", "org/name", 5040, 2),
        ("dataset", "org/name--more", 70, 1),
        ("space", "alone", 40, 1),
        ("other", "(other files)", 90_000, 1),
    ], "most bytes first, what is in no repository last"
    assert (found.size, found.here) == (95_150, 95_150)
    assert {entry.shared for entry in found.entries} == {0}, "revisions of one repository are one line"


def test_what_several_repositories_hold_is_shared_and_counted_once_in_all(tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"models--org--{name}" for name in ("one", "two", "three"))
    write(one / "blobs" / SHA[0], b"x" * 100)
    write(two / "blobs" / SHA[0], b"x" * 100)  # a second copy
    write(one / "blobs" / SHA[1], b"y" * 10)
    (three / "blobs").mkdir(parents=True)
    os.link(one / "blobs" / SHA[1], three / "blobs" / SHA[2])  # as a fork's, under another name
    write(three / "blobs" / SHA[3], b"z")
    os.link(three / "blobs" / SHA[3], three / "blobs" / SHA[4])
    found = count(tmp_path)
    told = by_name(found)
    assert {name: told[f"org/{name}"].shared for name in ("one", "two", "three")} == {
        "one": 110, "two": 100, "three": 10,
    }  # fmt: skip
    assert told["org/three"].size == 11, "a file with two names in one repository is one file"
    assert found.size == 211, "hard links take no space of their own, copies do"


def test_the_shared_store_of_the_client_counts_for_who_links_to_it(tmp_path: Path) -> None:
    write(tmp_path / "hub" / "blobs" / "ab" / SHA[0], b"x" * 1000)
    write(tmp_path / "hub" / "blobs" / "ab" / SHA[1], b"y" * 500)
    write(tmp_path / "hub" / "blobs" / "ab" / SHA[2], b"w" * 3)
    for name in ("one", "two"):
        write(tmp_path / "hub" / f"models--org--{name}" / "blobs" / SHA[3], f"../../blobs/ab/{SHA[0]}")
    write(tmp_path / "hub" / "models--org--one" / "blobs" / SHA[4], f"../../blobs/ab/{SHA[1]}")
    write(tmp_path / "hub" / "models--org--one" / "blobs" / SHA[5], "../../../../../etc/passwd")
    found = count(tmp_path)
    assert {entry.name: (entry.size, entry.shared) for entry in found.entries} == {
        "org/one": (1500, 1000), "org/two": (1000, 1000), "(other files)": (3, 0),
    }  # fmt: skip
    assert found.size == 1503


def test_what_links_of_snapshots_lead_to_and_is_not_there_is_missing(tmp_path: Path) -> None:
    for name in ("whole", "part", "gone"):
        snapshot = tmp_path / "hub" / f"models--org--{name}" / "snapshots" / COMMIT
        write(snapshot / "model.bin", f"../../blobs/{SHA[0]}")
        write(snapshot / "again.bin", f"../../blobs/{SHA[0]}")
        write(snapshot / "config.json", f"../../blobs/{SHA[1]}")
    for sha in SHA[:2]:
        write(tmp_path / "hub" / "models--org--whole" / "blobs" / sha, b"x")
    write(tmp_path / "hub" / "models--org--part" / "blobs" / SHA[0], b"x")
    found = count(tmp_path)
    missing = {entry.name: entry.missing_files for entry in found.entries}
    assert missing == {"org/whole": 0, "org/part": 1, "org/gone": 2}, "once, by however many links"
    assert found.missing_files == 3


def test_secrets_are_not_told_and_unfinished_downloads_are_a_line_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "token", b"hf_" + b"x" * 1000)
    write(tmp_path / "hub" / ".locks" / "models--org--name" / "x.lock", b"")
    write(tmp_path / "hub" / "models--org--name" / "blobs" / SHA[0], b"x")
    assert [entry.kind for entry in count(tmp_path).entries] == ["model"]
    write(tmp_path / "hub" / "models--org--name" / "blobs" / f"{SHA[1]}.incomplete", b"x" * 700)
    found = count(tmp_path)
    assert [(entry.kind, entry.size) for entry in found.entries] == [("model", 1), ("unfinished", 700)]


def test_placeholders_count_with_what_is_in_the_store_and_pins_are_told(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--org--name" / "blobs"
    roots = [raw(b"1"), raw(b"2"), raw(b"3")]
    for name, root in zip(SHA, roots, strict=False):
        write(blobs / name, reference.text(Reference(root, 10_000)).decode())
    write(blobs / SHA[3], b"x" * 10_000)
    known = Known(extents={extent_name(roots[0], 10_000): 4096, extent_name(roots[1], 10_000): 12_288})
    (entry,) = count(tmp_path, known).entries
    assert (entry.size, entry.here, entry.pinned) == (40_000, 24_096, "no")
    (entry,) = count(tmp_path, Known(pinned_roots={roots[0]})).entries
    assert (entry.here, entry.pinned) == (10_000, "part")
    inode = (blobs / SHA[3]).stat().st_ino
    (entry,) = count(tmp_path, Known(pinned_roots=set(roots), pinned_inodes={inode})).entries
    assert entry.pinned == "yes"


def test_last_use_is_that_of_what_is_here(tmp_path: Path) -> None:
    blobs = tmp_path / "models--org--name" / "blobs"
    write(blobs / SHA[0], reference.text(Reference(raw(b"1"), 10)).decode())
    (entry,) = count(tmp_path).entries
    assert entry.last_used is None
    write(blobs / SHA[1], b"x")
    write(blobs / SHA[2], b"x")
    os.utime(blobs / SHA[1], (2_000, 1_000))
    os.utime(blobs / SHA[2], (1_000, 1_500))
    (entry,) = count(tmp_path).entries
    assert entry.last_used == 2_000
    known = Known(used_ns={(blobs / SHA[2]).stat().st_ino: 3_000_000_000_000})
    assert count(tmp_path, known).entries[0].last_used == 3_000


@pytest.mark.root
def test_a_directory_that_may_not_be_read_is_counted_as_such(tmp_path: Path) -> None:
    write(tmp_path / "hub" / "models--org--name" / "blobs" / SHA[0], b"x" * 100)
    (tmp_path / "hub" / "models--org--name" / "blobs").chmod(0)
    child = os.fork()
    if not child:
        os.chdir("/")
        fd = os.open(tmp_path, os.O_PATH)
        os.setresuid(4_001, 4_001, 4_001)
        found = overview(fd, bytes(tmp_path), Known())
        os._exit(0 if (found.unread, found.size) == (1, 0) else 1)
    (tmp_path / "hub" / "models--org--name" / "blobs").chmod(0o700)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
