"""A store that was put elsewhere is found again, by all commands; notes that are stale or hostile are not believed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from tests.support.mounted import clear, environment, ipfsfs


@dataclass(slots=True)
class Cache:
    """A directory whose store was put elsewhere, with one sealed file; its user's state is its own."""

    at: Path
    store: Path
    state: Path

    def run(self, *words: str | Path, check: bool = True) -> str:
        """What a command says on both streams."""
        done = ipfsfs(*words, env=environment(XDG_STATE_HOME=str(self.state)), check=check)
        return done.stdout + done.stderr

    def note(self) -> Path:
        """The note of its view."""
        (note,) = (self.state / "ipfsfs" / "views").iterdir()
        return note

    def store_mounted(self, at: Path | None = None) -> tuple[Path, str]:
        """With which store it is mounted now, without being told, and what is said; it is unmounted again."""
        said = self.run("mount", at or self.at)
        view = mounts.view_at(at or self.at)
        assert view is not None
        self.run("umount", at or self.at)
        return view.store, said


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """It was mounted with --store, and is not any more."""
    found = Cache(tmp_path / "cache", tmp_path / "elsewhere" / "store", tmp_path / "state")
    found.at.mkdir()
    found.store.parent.mkdir()
    (found.at / "file").write_bytes(b"content")
    try:
        found.run("mount", found.at, "--store", found.store)
        found.run("seal", found.at)
        found.run("umount", found.at)
        yield found
    finally:
        clear(found.at)


def test_all_commands_and_the_next_mount_find_the_store_that_was_named_once(cache: Cache) -> None:
    assert "The store is sound." in cache.run("fsck", cache.at)
    assert "sealed  yes" in cache.run("why", cache.at / "file")
    assert str(cache.store) in cache.run("status", cache.at)
    assert "1 file, 7 B read: nothing is wrong." in cache.run("verify", cache.at)
    assert str(cache.store) in cache.run("quarantine", "ls", "--view", cache.at, "--json")
    assert cache.store_mounted()[0] == cache.store
    assert not cache.at.with_name("cache.ipfsfs").exists()


def test_a_store_that_no_note_names_is_taken_when_the_user_names_it(cache: Cache) -> None:
    cache.note().unlink()
    assert "no directory above it has a store" in cache.run("why", cache.at / "file", check=False)
    refused = cache.run("why", cache.at / "file", "--store", cache.store, check=False)
    assert f"nothing says which directory {cache.store} is the store of" in refused
    assert str(cache.store) in cache.run("status", cache.at, "--store", cache.store)
    assert "1 file, 7 B read: nothing is wrong." in cache.run("verify", cache.at, "--store", cache.store)
    assert "The store is sound." in cache.run("fsck", cache.at, "--store", cache.store)
    other = cache.at.with_name("other")
    other.mkdir()
    assert "of another directory" in cache.run("verify", other, "--store", cache.store, check=False)
    assert "sealed and gone: 0" in cache.run("fsck", cache.at, "--store", cache.store), "nothing of it was lost by that"


def test_the_usual_place_is_taken_with_words_where_the_store_is_gone(cache: Cache) -> None:
    shutil.rmtree(cache.store)
    usual, said = cache.store_mounted()
    assert usual == cache.at.with_name("cache.ipfsfs")
    assert f"{cache.at} had the store {cache.store}, which is gone. So the store is {usual}" in said


def test_a_disk_that_is_not_there_is_named_and_its_store_is_not_forgotten(cache: Cache) -> None:
    away = cache.store.parent.with_name("away")
    cache.store.parent.rename(away)
    assert "which is not there (is its disk mounted?). So the store is " in cache.run("status", cache.at)
    away.rename(cache.store.parent)
    assert cache.store_mounted()[0] == cache.store


def test_another_directory_in_the_same_place_does_not_get_the_store(cache: Cache) -> None:
    moved = cache.at.rename(cache.at.with_name("moved"))
    cache.at.mkdir()
    said = cache.run("status", cache.at)
    assert f"another directory was at {cache.at} before, and {cache.store} is the store of that one" in said
    assert str(cache.at) not in cache.run("status", check=False), "nobody asked for it"
    try:
        store, said = cache.store_mounted(moved)
    finally:
        clear(moved)
    assert store == cache.store, "the directory that was moved still has it"
    assert f"{moved} was at {cache.at} before" in said


@pytest.mark.root
@pytest.mark.parametrize("what", ["note", "store"])
def test_what_another_user_has_put_there_is_not_believed(cache: Cache, what: str) -> None:
    os.chown(cache.note() if what == "note" else cache.store, 4_001, 4_001)
    usual, said = cache.store_mounted()
    assert usual == cache.at.with_name("cache.ipfsfs")
    assert ("another user's" in said) == (what == "store")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"mountpoint": 7, "store": "/"}', '{"mountpoint": "/", "store": "/", "inode": "x"}']
)
def test_a_note_that_makes_no_sense_is_no_note(cache: Cache, text: str) -> None:
    cache.note().write_text(text)
    assert cache.store_mounted()[0] == cache.at.with_name("cache.ipfsfs")


def test_a_note_of_an_earlier_version_is_believed(cache: Cache) -> None:
    said = json.loads(cache.note().read_text())
    cache.note().write_text(json.dumps({name: said[name] for name in ("mountpoint", "store")}))
    assert cache.store_mounted()[0] == cache.store
    assert json.loads(cache.note().read_text()) == said, "and completed by the next mount"
