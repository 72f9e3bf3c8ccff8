"""Extents: what is in the store of files that are not wholly here."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually, fetchers_of
from tests.support.users import User

pytestmark = pytest.mark.kubo

LEAF = 1 << 20
CONTENT = os.urandom(40 * LEAF)


def _extent(view: Mounted) -> Path:
    (found,) = _extents(view)
    return found


def _extents(view: Mounted) -> list[Path]:
    """Extents, and not the tables of their leaves, which stay until `collect`."""
    return [path for path in (view.store / "extents").iterdir() if path.is_file() and path.suffix != ".leaves"]


def test_what_rots_in_an_extent_is_not_served_and_is_fetched_again(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT})
    path = at / "file"
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == CONTENT[:10]
        time.sleep(1)  # what is fetched ahead has come
        with _extent(view).open("r+b") as extent:
            extent.seek(3 * LEAF)
            extent.write(b"rotten" * 1000)
        assert os.pread(fd, LEAF, 3 * LEAF) == CONTENT[3 * LEAF : 4 * LEAF]
    finally:
        os.close(fd)
    assert path.read_bytes() == CONTENT
    eventually_resident(view, path)
    assert path.read_bytes() == CONTENT


def test_of_two_links_that_name_one_root_the_one_that_lies_fails_alone(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT[: 5 * LEAF]}, "--patience", "3")
    text = plain_link(view, at / "file")
    assert text is not None
    lie = text.replace(f"size={5 * LEAF}", f"size={5 * LEAF + 7}")
    os.symlink(lie, at / "lie")
    assert (at / "lie").stat().st_size == 5 * LEAF + 7
    view.expect_logged.append("tree/lie")
    with pytest.raises(OSError, match="Input/output error"):
        (at / "lie").read_bytes()
    assert (at / "file").read_bytes() == CONTENT[: 5 * LEAF]


def test_h42_two_placeholders_of_one_root_both_become_files(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT[: 5 * LEAF]})
    os.symlink(plain_link(view, at / "file") or "", at / "second")
    with (at / "second").open("rb") as second:
        assert second.read(10) == CONTENT[:10]
        assert (at / "file").read_bytes() == CONTENT[: 5 * LEAF]
        eventually_resident(view, at / "file")
        with (at / "file").open("r+b") as file:
            file.write(b"mine alone")
        assert second.read() == CONTENT[10 : 5 * LEAF]
    assert (at / "second").read_bytes() == CONTENT[: 5 * LEAF]
    assert (at / "file").read_bytes() == b"mine alone" + CONTENT[10 : 5 * LEAF]
    eventually_resident(view, at / "second")


def test_what_is_open_after_a_lazy_umount_goes_on_beside_the_next_view(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT})
    fd = os.open(at / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == CONTENT[:10]
        view.umount("--lazy")
        view.expect_logged.append("the fetcher was ended")
        view.mount()
        assert os.pread(fd, 100, 30 * LEAF) == CONTENT[30 * LEAF : 30 * LEAF + 100]
        assert (at / "file").read_bytes() == CONTENT
        eventually_resident(view, at / "file")
        with (at / "file").open("r+b") as file:
            file.write(b"changed")
        assert os.pread(fd, 7, 0) == CONTENT[:7]
    finally:
        os.close(fd)
    assert (at / "file").read_bytes() == b"changed" + CONTENT[7:]


def test_h48_a_fetcher_that_is_killed_is_started_again_and_reads_go_on(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT})
    view.expect_logged.append("the fetcher was ended by SIGKILL")
    with (at / "file").open("rb") as file:
        data = file.read(100)
        for _ in range(3):
            subprocess.run(["pkill", "-KILL", "-P", str(view.pid), "-f", "workers.fetcher.program"], check=False)
            data += file.read(10 * LEAF)
        data += file.read()
    assert data == CONTENT


def test_the_fetcher_is_there_before_a_file_that_is_known_is_read(elsewhere: Elsewhere) -> None:
    view = elsewhere.view()
    assert not fetchers_of(view.pid), "nothing is known that could be fetched"
    root = elsewhere.publish({"file": b"content"})
    ipfsfs("attach", root, view.path / "tree")
    os.lstat(view.path / "tree" / "file")
    eventually(lambda: fetchers_of(view.pid), "no fetcher is started")


@pytest.mark.root
def test_h41_another_user_plants_no_placeholder_through_the_view(
    open_to_all: Path, elsewhere: Elsewhere, mounted: Callable[..., Mounted]
) -> None:
    text = f"ipfs://{elsewhere.publish({'file': CONTENT[:LEAF]})}?size={LEAF}"
    cache = open_to_all / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    view = mounted(cache, *elsewhere.options, "--allow-other")
    made = User(4_242).command(["ln", "-s", text, view.path / "planted"])
    assert "Operation not permitted" in made.stderr
    assert not os.path.lexists(view.path / "planted")
    assert User(4_242).command(["ln", "-s", "elsewhere", view.path / "ordinary"]).returncode == 0
    assert User(4_242).command(["ln", "-s", text, view.path / "x.lock"]).returncode == 0
    assert User(4_242).command(["mv", view.path / "x.lock", view.path / "planted"]).returncode == 0
    time.sleep(1.1)
    assert (view.path / "planted").is_symlink(), "what they made is a link, by whatever name"


def test_a_view_without_origins_shows_placeholders_and_says_what_it_lacks(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT[:LEAF]})
    view.umount()
    view.arguments = ("--patience", "1")
    view.mount()
    view.expect_logged.append("tree/file")
    assert (at / "file").stat().st_size == LEAF
    with pytest.raises(OSError, match="Input/output error"):
        (at / "file").read_bytes()
    assert "no origin" in "\n".join(view.complaints()) or "no origin" in view.log()
    refused = ipfsfs("attach", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", at / "x", check=False)
    assert refused.returncode == 2
    assert "--kubo" in refused.stderr


def test_what_rots_in_a_file_of_the_older_profile_does_not_become_the_file(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    (tmp_path / "old").write_bytes(CONTENT[: 20 * LEAF])
    root = elsewhere.node.ask("add", "--cid-version=0", "--raw-leaves=false", "--quieter", str(tmp_path / "old"))
    view = elsewhere.view()
    view.expect_logged.append("rotted in the store")
    path = view.path / "file"
    ipfsfs("attach", root.strip(), path)
    with path.open("rb") as file:
        file.read(10)
        time.sleep(1)
        with _extent(view).open("r+b") as extent:
            extent.seek(LEAF + 10)
            extent.write(b"rotten")
        file.seek(12 * LEAF)
        file.read(LEAF)
        deadline = time.monotonic() + 20
        while "rotted in the store" not in view.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert path.read_bytes() == CONTENT[: 20 * LEAF]


def test_h28_a_link_that_was_left_in_the_store_by_a_power_cut_is_no_extent(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT[: 3 * LEAF]})
    text = plain_link(view, at / "file") or ""
    root = os.getxattr(at / "file", "ipfs.cid").decode()
    os.symlink(text, view.store / "extents" / f"{root}.{3 * LEAF}")
    assert (at / "file").read_bytes() == CONTENT[: 3 * LEAF]


def test_a_full_store_is_said_at_once_and_costs_no_other_file(elsewhere: Elsewhere, tmp_path: Path) -> None:
    store = tmp_path / "small"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", store], check=True)
    try:
        view, at = elsewhere.attached({"file": CONTENT, "small": b"small"}, "--store", str(store / "s"))
        view.expect_logged.append("tree/file")
        began = time.monotonic()
        with pytest.raises(OSError, match="Input/output error"):
            (at / "file").read_bytes()
        assert time.monotonic() - began < 10
        assert "No space left" in view.log()
        (view.path / "local").write_bytes(b"local")
        view.umount()
    finally:
        subprocess.run(["umount", "-l", store], check=True)


def test_what_was_fetched_of_a_file_that_is_removed_goes_with_it(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT})
    with (at / "file").open("rb") as file:
        file.read(10)
        (at / "file").unlink()
        assert file.read(100) == CONTENT[10:110]
    deadline = time.monotonic() + 20
    while _extents(view):
        assert time.monotonic() < deadline
        time.sleep(0.05)
