"""Evicting what only the Hub has, and the ways back: by ranges, by the whole, and none that is not what was named."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.evict import Answer, Question
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.reference import Reference
from tests.support.elsewhere import eventually_resident, plain_link
from tests.support.hub import LocalHub, Request
from tests.support.mounted import Mounted
from tests.support.repositories import Repository, downloaded
from tests.support.weights import safetensors

LEAF = 1 << 20
SOME = random.Random(7)
WEIGHTS = SOME.randbytes(9 * LEAF + 12_345)
TENSORS = safetensors({name: SOME.randbytes(1_300_000) for name in ("a", "b", "c")})
CANARY = "hf_" + "Canary" * 5


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "the-hub") as local:
        yield local


@pytest.fixture
def cached(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[tuple[Mounted, Repository]]:
    """A view with a repository that the Hub has too, sealed. It is unmounted with what is in it."""
    (tmp_path / "view").mkdir()
    view = mounted(tmp_path / "view", "--hub", hub.url, "--patience", "3")
    repository = downloaded(view, hub, "org/name", {"model.bin": WEIGHTS, "config.json": b"{}"})
    view.seal()
    yield view, repository
    if view.mounted:
        view.umount()


def evict(view: Mounted, *paths: Path) -> Answer:
    """What the daemon says when it is asked to evict paths."""
    return ask(view.store, Question(tuple(bytes(path.relative_to(view.path)) for path in paths), None, False))


def why_it_stays(view: Mounted, path: Path) -> str:
    """Why a file stays."""
    said = evict(view, path)
    assert said.files == 0
    return said.stays[0].why


def ranges(hub: LocalHub) -> list[Request]:
    """What was had of the repository's content."""
    return [one for one in hub.requests("org/name") if one.sent]


def test_what_the_hub_has_goes_and_comes_back_by_ranges(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, repository = cached
    blob = repository.blob("model.bin")
    before = blob.stat()
    assert evict(view, repository.at).files == 1
    assert plain_link(view, blob) is not None
    assert len(ranges(hub)) <= 6, "some of its leaves were asked for"
    after = blob.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    asked = len(ranges(hub))
    with repository.file("model.bin").open("rb") as file:
        assert os.pread(file.fileno(), 100, 5 * LEAF) == WEIGHTS[5 * LEAF :][:100]
        assert sum(one.sent for one in ranges(hub)[asked:]) < len(WEIGHTS), "a part of it was enough"
    view.remount()
    assert repository.file("model.bin").read_bytes() == WEIGHTS
    eventually_resident(view, blob)
    view.seal()
    assert evict(view, repository.at).files == 1, "and again"
    assert view.run("prefetch", repository.at).stdout.startswith("Fetched 1 file")
    assert blob.read_bytes() == WEIGHTS


def lose_store(view: Mounted) -> None:
    """Unmount, and mount again with a new store."""
    view.umount()
    shutil.rmtree(view.store)
    view.mount()


def tables(view: Mounted) -> list[Path]:
    """The tables of leaves in the store of a view."""
    return list((view.store / "extents").glob("*.leaves"))


@pytest.mark.parametrize("chunker", ["auto", "fixed"])
def test_without_its_store_a_file_is_compared_with_its_cid(
    chunker: str, cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    view, _ = cached
    view.arguments = (*view.arguments, "--chunker", chunker)
    view.remount()
    repository = downloaded(view, hub, "org/name", {"model.safetensors": TENSORS})
    view.seal()
    path = repository.file("model.safetensors")
    assert evict(view, path).files == 1
    view.arguments = view.arguments[:-2]
    lose_store(view)
    before = sum(one.sent for one in ranges(hub))
    with path.open("rb") as file:
        assert file.read(1000) == TENSORS[:1000]
    assert sum(one.sent for one in ranges(hub)) - before == len(TENSORS), "it came once"
    eventually_resident(view, repository.blob("model.safetensors"))
    assert path.read_bytes() == TENSORS


def test_what_the_cid_does_not_name_is_never_taken_for_the_file(
    cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    """The store is lost, and what the Hub has under that name is not what was there: it is asked for once."""
    view, repository = cached
    path = repository.file("model.bin")
    assert evict(view, path).files == 1
    lose_store(view)
    hub.spoil("org/name", "model.bin", flip=8 * LEAF)
    view.expect_logged.append("is not here, and cannot be fetched")
    before = sum(one.sent for one in ranges(hub))
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
    assert sum(one.sent for one in ranges(hub)) - before <= 2 * len(WEIGHTS), "the commit's, and the main branch's"
    (line,) = {line.partition("ERROR ")[2] for line in view.log().splitlines() if "cannot be fetched" in line}
    assert repository.blob("model.bin").name in line
    assert "what hub" in line
    assert not tables(view)
    assert plain_link(view, repository.blob("model.bin")) is not None
    hub.heal("org/name", "model.bin")
    view.remount()
    assert path.read_bytes() == WEIGHTS


def test_offline_it_fails_fast_and_comes_when_the_hub_is_back(
    cached: tuple[Mounted, Repository], hub: LocalHub, tmp_path: Path
) -> None:
    view, repository = cached
    path = repository.file("model.bin")
    assert evict(view, path).files == 1
    arguments = view.arguments
    view.arguments = ("--hub", "http://127.0.0.1:9", "--patience", "3")
    view.expect_logged.append("cannot be fetched")
    for lost in (False, True):
        if lost:
            lose_store(view)
        else:
            view.remount()
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
        (line,) = [line for line in view.log().splitlines() if "cannot be fetched" in line]
        assert repository.blob("model.bin").name in line
        assert "127.0.0.1:9 cannot be reached" in line
    view.arguments = arguments
    view.remount()
    assert path.read_bytes() == WEIGHTS


def test_what_the_hub_does_not_have_at_that_moment_stays(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, repository = cached
    blob = repository.blob("model.bin")
    hub.spoil("org/name", "model.bin", flip=0)
    assert "are not baf" in why_it_stays(view, blob)
    hub.heal("org/name", "model.bin")
    view.remount()  # for a minute it was not asked again

    other = downloaded(view, hub, "org/name", {"model.bin": WEIGHTS[::-1], "config.json": b"{}"})
    mine = repository.file("model.bin")
    mine.unlink()
    repository.at.joinpath("trees", f"{repository.commit}.json").unlink()
    assert "no link or listing says where" in why_it_stays(view, blob)
    other.file("model.bin").unlink()
    other.file("model.bin").symlink_to(f"../../blobs/{blob.name}")
    assert f"and not {blob.name}" in why_it_stays(view, blob), "a link that is wrong"
    hub.add("org/name", {"model.bin": WEIGHTS[:-1]})
    mine.symlink_to(f"../../blobs/{blob.name}")
    hub.forget("org/name", repository.commit)
    hub.forget("org/name", other.commit)
    assert "does not give org/name/model.bin" in why_it_stays(view, blob), "a revision that is gone"
    assert blob.read_bytes() == WEIGHTS


def test_h41_a_gated_file_goes_and_comes_with_the_users_token(
    cached: tuple[Mounted, Repository], hub: LocalHub, tmp_path: Path
) -> None:
    view, repository = cached
    hub.restrict("org/name", "gated", CANARY)
    assert "(401" in why_it_stays(view, repository.at)
    (tmp_path / "token").write_text(CANARY + "\n")
    view.arguments = (*view.arguments, "--hub-token-file", str(tmp_path / "token"))
    view.remount()
    assert evict(view, repository.at).files == 1
    lose_store(view)
    said = view.run("umount", view.path).stdout
    assert f"ipfsfs mount --hub {hub.url} --hub-token-file {tmp_path}/token {view.path}" in said
    view.mount()
    assert repository.file("model.bin").read_bytes() == WEIGHTS
    asked = [one for one in hub.requests() if one.authorization]
    assert asked
    assert all(one.port != hub.content_port for one in asked)


def test_a_history_that_was_rewritten_is_not_the_end_of_what_was_evicted(
    cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    """The revision is gone, and the main branch has the content still."""
    view, repository = cached
    assert evict(view, repository.at).files == 1
    hub.add("org/name", {"model.bin": WEIGHTS, "README.md": b"# all in one commit"})
    hub.forget("org/name", repository.commit)
    assert repository.file("model.bin").read_bytes() == WEIGHTS
    eventually_resident(view, repository.blob("model.bin"))
    view.seal()
    assert "does not give org/name/model.bin" in why_it_stays(view, repository.at), "but a branch is no promise"


def test_a_table_stays_for_as_long_as_a_link_needs_it(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, first = cached
    second = downloaded(view, hub, "org/other", {"model.bin": WEIGHTS})
    view.seal()
    assert evict(view, view.path / "hub").files == 2
    (table,) = tables(view)
    assert first.file("model.bin").read_bytes() == WEIGHTS
    eventually_resident(view, first.blob("model.bin"))
    first.blob("model.bin").unlink()
    view.run("collect", "--view", view.path)
    assert tables(view) == [table]
    view.remount()
    asked = len(hub.requests("org/other"))
    with second.file("model.bin").open("rb") as file:
        assert file.read(100) == WEIGHTS[:100]
    assert all(one.sent <= LEAF for one in hub.requests("org/other")[asked:]), "by ranges"
    second.blob("model.bin").unlink()
    view.remount()
    view.run("collect", "--view", view.path)
    assert tables(view) == []


def test_a_file_of_the_shared_store_is_found_by_the_listing_alone(
    cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    view, repository = cached
    blob = repository.blob("model.bin")
    shared = view.path / "hub" / "blobs" / "ee" / ("e" * 64)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    shared.chmod(0o444)
    blob.symlink_to(f"../../blobs/ee/{shared.name}")
    repository.file("model.bin").unlink()
    view.seal()
    for lost in (False, True):
        assert evict(view, repository.at).files == 1
        assert (plain_link(view, shared) or "").endswith("&mode=0444")
        if lost:
            lose_store(view)
        assert blob.read_bytes() == WEIGHTS
        eventually_resident(view, shared)
        assert shared.stat().st_mode & 0o777 == 0o444
        view.seal()


def test_what_was_evicted_to_the_hub_can_be_pinned(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, repository = cached
    for lost in (False, True):
        assert evict(view, repository.at).files == 1
        if lost:
            lose_store(view)
        view.run("pin", "add", repository.file("model.bin").resolve())
        hub.restrict("org/name", "private", CANARY)
        assert repository.file("model.bin").read_bytes() == WEIGHTS
        eventually_resident(view, repository.blob("model.bin"))
        view.seal()
        hub.restrict("org/name", "public", "")
        assert "pinned" in why_it_stays(view, repository.at)
        view.run("pin", "rm", repository.file("model.bin").resolve())


def test_why_and_status_speak_of_the_hub(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, repository = cached
    blob = repository.blob("model.bin")
    shown = view.run("why", blob).stdout.splitlines()
    assert not any(line.startswith("from ") for line in shown), "nothing is said of what a client downloaded"
    assert evict(view, blob).files == 1
    said = view.run("why", blob).stdout
    assert f"origins  hub {hub.url}" in " ".join(said.split()).replace("origins hub", "origins  hub")
    assert "leaves" in said
    assert blob.read_bytes() == WEIGHTS
    eventually_resident(view, blob)
    assert f"hub {hub.url}: 9.4 MB, 100%" in view.run("why", blob).stdout
    assert view.status()["no_eviction"] == ""
    view.arguments = ("--hub", "none")
    view.remount()
    assert "without an origin" in view.status()["no_eviction"]
    assert "without an origin" in why_it_stays(view, blob)


def test_a_view_keeps_within_its_size_by_what_the_hub_has(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    view, first = cached
    second = downloaded(view, hub, "org/other", {"model.bin": WEIGHTS[::-1]})
    assert second.file("model.bin").read_bytes() == WEIGHTS[::-1]
    view.seal()
    done = view.run("evict", "--to", "10MB", "--view", view.path)
    assert "Evicted 1 file, 9.4 MB. Kept of what origins can give: 9.4 MB." in done.stdout
    assert plain_link(view, first.blob("model.bin")) is not None
    assert plain_link(view, second.blob("model.bin")) is None
    assert view.run("evict", "--view", view.path, first.at, check=False).returncode == 2


def test_umount_names_what_is_not_here_whatever_the_view_was_mounted_with(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    plain = tmp_path / "view"
    plain.mkdir()
    link = reference.text(Reference(cid.dag_pb_cid(bytes(32)), 5_000_000))
    os.symlink(link, plain / "file")
    view = mounted(plain, "--hub", "none")
    said = view.run("umount", plain).stdout
    assert "5.0 MB of 5.0 MB missing" in said
    assert f"ipfsfs mount --kubo URL {plain}" in said
    assert "5.0 MB missing" in view.run("umount", plain).stdout, "mounted or not"
    (plain / "file").unlink()
    assert "missing" not in view.run("umount", plain).stdout
