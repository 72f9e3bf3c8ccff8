"""The store's directory: ours alone, one user of it at a time, of a version we know."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.errors import StoreBusy, StoreError
from ipfsfs.identity import PlainRoot
from ipfsfs.store import layout
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_everything_in_it_is_for_us_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "above" / "store")
    ledger = Ledger.open(store.ledger_file)
    index = Index.open(store.index_file, plain_root=PlainRoot(1, 2, 0))
    os.close(store.open_log())
    for path in (tmp_path / "above").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "above").stat().st_mode & 0o777 == 0o700
    assert os.path.sameopenfile(store.quarantine_fd, os.open(store.directory / "quarantine", os.O_PATH))
    index.close()
    ledger.close()
    store.close()


def test_only_one_can_have_it_and_it_is_free_again_when_that_one_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ipfsfs.store.layout import Store;"
        f"store = Store.open(Path({str(tmp_path)!r}) / 'store'); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        began = time.monotonic()
        with pytest.raises(StoreBusy, match="in use"):
            Store.open(tmp_path / "store", wait_s=0.2)
        assert 0.2 <= time.monotonic() - began < 5
        other.kill()
        Store.open(tmp_path / "store", wait_s=5).close()
    Store.open(tmp_path / "store").close()


def test_what_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store").chmod(0o755)
    Store.open(tmp_path / "store").close()
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


@pytest.mark.root
def test_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    os.chown(tmp_path / "store", 12_345, 12_345)
    with pytest.raises(StoreError, match="belongs to user 12345"):
        Store.open(tmp_path / "store")


def test_a_symlink_to_a_directory_of_ours_will_do(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "store").symlink_to("real")
    store = Store.open(tmp_path / "store")
    assert store.directory == tmp_path / "real"
    store.close()


def test_a_newer_store_is_refused_in_words_and_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "format").write_text(f"{layout.FORMAT + 1}\n")
    before = sorted(os.listdir(tmp_path / "store"))
    with pytest.raises(StoreError, match=f"has format {layout.FORMAT + 1}") as caught:
        Store.open(tmp_path / "store")
    assert "newer version" in caught.value.hint
    assert sorted(os.listdir(tmp_path / "store")) == before


@pytest.mark.parametrize("text", ["", "x", "0", "-3", "1.5"])
def test_a_version_that_nobody_knows_is_refused(tmp_path: Path, text: str) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "format").write_text(text)
    with pytest.raises(StoreError):
        Store.open(tmp_path / "store")


def test_a_directory_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(StoreError, match=r"not empty: it holds 'photo\.jpg'"):
        Store.open(tmp_path)
    with pytest.raises(StoreError):
        Store.open(tmp_path / "photo.jpg")
    with pytest.raises(StoreError):
        Store.open(tmp_path / "missing", create=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path / "empty", create=False)


def test_making_it_can_be_interrupted(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    directory.mkdir()
    (directory / "lock").touch()
    (directory / "format.new").touch()
    Store.open(directory).close()
    assert (directory / "format").read_text() == f"{layout.FORMAT}\n"


def test_a_refused_store_is_not_kept_locked(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "store" / "format").write_text("99")
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(StoreError):
            Store.open(tmp_path / "store")
    assert len(os.listdir("/proc/self/fd")) == opened
