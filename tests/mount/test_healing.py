"""`restore` and `verify --heal`: what is damaged or missing is had again, checked, and put in place."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import cid_of
from tests.support.hub import LocalHub, Request
from tests.support.kubo_node import CANARY as NODES_CANARY
from tests.support.kubo_node import KuboNode
from tests.support.mounted import Mounted
from tests.support.promised import quarantined
from tests.support.repositories import Repository, downloaded, forget_what_is_kept

WEIGHTS = random.Random(5).randbytes(5_000_000)
CONFIG = b'{"hidden_size": 384}\n'
FILES = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "onnx/model.onnx": WEIGHTS[::-1]}
CANARY = "hf_" + "Canary" * 5


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "the-hub") as local:
        yield local


@pytest.fixture
def cached(hub: LocalHub, mounted: Callable[..., Mounted]) -> tuple[Mounted, Repository]:
    """A view with a repository that the Hub has too, sealed."""
    mount = mounted(None, "--hub", hub.url)
    repository = downloaded(mount, hub, "org/name", FILES)
    mount.seal()
    return mount, repository


def overwrite(mount: Mounted, path: Path, text: bytes = b"a tool wrote here") -> None:
    """Through whatever path, in place; return when that was noticed."""
    mount.expect_logged.append("broken promise")
    with path.open("r+b") as file:
        file.seek(1_500_000)
        file.write(text)
    mount.seal()
    assert mount.status()["broken_promises"]


def restored(mount: Mounted, *paths: Path, code: int = 0) -> dict[str, Any]:
    done = mount.run("restore", *paths, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def content_requests(hub: LocalHub) -> list[Request]:
    return [one for one in hub.requests("org/name") if one.sent]


def is_clean(mount: Mounted) -> bool:
    said = mount.status()
    return not said["rot"] and not said["broken_promises"] and mount.run("verify", mount.path).returncode == 0


def test_one_command_puts_back_what_a_tool_wrote_over(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    """Through the path in the snapshot: the content is had from the quarantine, and nobody is asked for it."""
    mount, repository = cached
    blob = repository.blob("model.safetensors")
    blob.chmod(0o640)
    overwrite(mount, repository.file("model.safetensors"))
    (kept,) = quarantined(mount)
    said = mount.run("restore", repository.file("model.safetensors")).stdout
    assert f"put back (broken promise): {blob}: from the quarantine ({kept})" in said
    assert repository.file("model.safetensors").read_bytes() == WEIGHTS
    assert blob.stat().st_mode & 0o777 == 0o640
    assert is_clean(mount)
    assert content_requests(hub) == []
    (was,) = set(quarantined(mount)) - {kept}
    assert (mount.store / "quarantine" / was).read_bytes()[1_500_000:].startswith(b"a tool wrote here")
    assert cid_of(blob), "it is sealed again"


def test_a_snapshot_is_restored_by_what_its_links_lead_to(cached: tuple[Mounted, Repository]) -> None:
    mount, repository = cached
    overwrite(mount, repository.file("model.safetensors"))
    snapshot = repository.file("model.safetensors").parent
    assert mount.run("verify", snapshot, check=False).returncode == 4
    assert "1 file put back" in mount.run("restore", snapshot).stdout
    assert repository.file("model.safetensors").read_bytes() == WEIGHTS


def test_what_was_not_kept_comes_from_the_hub(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    mount, repository = cached
    overwrite(mount, repository.blob("model.safetensors"))
    forget_what_is_kept(mount)
    done = mount.run("verify", "--heal", mount.path, "--json")
    (healed,) = json.loads(done.stdout)["healed"]
    assert healed["source"] == f"hub {hub.url}"
    assert repository.file("model.safetensors").read_bytes() == WEIGHTS
    assert is_clean(mount)
    assert mount.run("verify", "--heal", mount.path).returncode == 0


@pytest.mark.kubo
def test_what_was_not_kept_comes_from_a_node_by_its_cid(
    hub: LocalHub, mounted: Callable[..., Mounted], kubo: KuboNode, tmp_path: Path
) -> None:
    """What it was is noted when it is written in place."""
    (tmp_path / "authorization").write_text(f"Bearer {NODES_CANARY}\n")
    options = ("--kubo", kubo.api, "--kubo-authorization-file", str(tmp_path / "authorization"))
    mount = mounted(None, *options, "--hub", "none")
    repository = downloaded(mount, hub, "org/name", FILES)
    mount.seal()
    blob = repository.blob("model.safetensors")
    mount.run("publish", blob, "--private-too", *options)
    overwrite(mount, blob)
    forget_what_is_kept(mount)
    (healed,) = restored(mount, blob)["healed"]
    assert healed["source"] == f"kubo {kubo.api}", "who gave it is named"
    assert blob.read_bytes() == WEIGHTS
    assert is_clean(mount)


def test_what_is_missing_is_named_by_all_who_look(cached: tuple[Mounted, Repository]) -> None:
    mount, repository = cached
    blob, snapshot = repository.blob("config.json"), repository.file("config.json").parent
    blob.unlink()
    for path in (mount.path, snapshot):
        done = mount.run("verify", path, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"missing: {blob}: links lead to it" in done.stdout
        assert "restore" in done.stdout
        assert "1 is missing" in done.stdout
        assert "nothing is wrong" not in done.stdout
        brought = mount.run("prefetch", path, check=False)
        assert (brought.returncode, str(blob) in brought.stderr) == (1, True), brought.stdout
    assert json.loads(mount.run("verify", repository.at / "trees", "--json").stdout)["missing"] == []
    shown = mount.run("ls", "--view", mount.path).stdout
    assert "all of it here" not in shown
    assert "100%" not in shown
    assert "1 missing" in shown
    mount.umount()
    assert mount.run("verify", mount.path, check=False).returncode == 1, "without a daemon too"
    mount.mount()
    assert restored(mount, mount.path)["healed"]
    assert is_clean(mount)
    assert mount.run("prefetch", mount.path).returncode == 0
    assert "all of it here" in mount.run("ls", "--view", mount.path).stdout


def test_what_is_missing_is_put_where_its_links_lead(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    mount, repository = cached
    for path in FILES:
        repository.blob(path).unlink()
    assert restored(mount, repository.file("config.json"))["healed"][0]["damage"] == "missing"
    assert repository.file("config.json").read_bytes() == CONFIG, "compared with git's name of it"
    assert not repository.blob("model.safetensors").exists()
    assert len(restored(mount, mount.path)["healed"]) == 2
    assert all(repository.file(path).read_bytes() == data for path, data in FILES.items())
    repository.file("model.safetensors").unlink()
    blob = repository.at / "blobs" / hub.files("org/name")["model.safetensors"].etag
    blob.unlink()
    assert restored(mount, blob)["healed"], "no link is left, and the listing knows it"
    assert blob.read_bytes() == WEIGHTS
    assert restored(mount, mount.path)["healed"] == []
    assert mount.run("restore", blob.with_name("0" * 64), check=False).returncode == 1
    assert mount.run("restore", mount.path / "nothing", check=False).returncode == 2


def test_h49_a_blob_of_the_shared_store_is_put_back_there(cached: tuple[Mounted, Repository], hub: LocalHub) -> None:
    """A file that came by Xet: its link stays, and what it leads to is as the client made it."""
    mount, repository = cached
    blob = repository.blob("model.safetensors")
    shared = mount.path / "hub" / "blobs" / "ee" / ("e" * 64)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(f"../../blobs/ee/{shared.name}")
    shared.unlink()
    (healed,) = restored(mount, repository.file("model.safetensors"))["healed"]
    assert healed["path"] == str(shared)
    assert repository.file("model.safetensors").read_bytes() == WEIGHTS
    assert shared.stat().st_mode & 0o777 == 0o444
    assert blob.is_symlink()


def test_what_the_hub_gives_is_compared_before_it_is_put_in_place(
    cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    mount, repository = cached
    blob = repository.blob("model.safetensors")
    overwrite(mount, blob)
    forget_what_is_kept(mount)
    wrong, number = blob.read_bytes(), blob.stat().st_ino
    hub.spoil("org/name", "model.safetensors", flip=3_000_000)
    (left,) = restored(mount, blob, code=1)["not_healed"]
    assert "is not" in left["why"]
    assert (blob.read_bytes(), blob.stat().st_ino) == (wrong, number)
    hub.heal("org/name", "model.safetensors")
    hub.spoil("org/name", "model.safetensors", cut_after=2_000_000, times=2)
    assert restored(mount, blob)["healed"], "a connection that breaks is taken up again"
    assert blob.read_bytes() == WEIGHTS
    sent = [one.sent for one in content_requests(hub)][-3:]
    assert sum(sent) == len(WEIGHTS), "from where it broke off"


def test_a_revision_that_the_hub_has_no_longer_is_not_the_last_word(
    cached: tuple[Mounted, Repository], hub: LocalHub
) -> None:
    mount, repository = cached
    later = downloaded(mount, hub, "org/name", {**FILES, "README.md": b"# of another revision"})
    hub.forget("org/name", repository.commit)
    later.blob("model.safetensors").unlink()
    assert restored(mount, mount.path)["healed"]
    assert repository.file("model.safetensors").read_bytes() == WEIGHTS


def test_h18_what_a_program_writes_is_not_replaced(cached: tuple[Mounted, Repository]) -> None:
    mount, repository = cached
    blob = repository.blob("model.safetensors")
    overwrite(mount, blob)
    with blob.open("r+b") as file:
        (left,) = restored(mount, blob, code=1)["not_healed"]
        assert "open for writing" in left["why"]
        file.write(b"and goes on")
    blob.with_name(blob.name + ".aria2").touch()
    (left,) = restored(mount, blob, code=1)["not_healed"]
    assert ".aria2" in left["why"]
    assert blob.read_bytes().startswith(b"and goes on")


def test_who_has_the_damaged_file_open_keeps_it(cached: tuple[Mounted, Repository]) -> None:
    mount, repository = cached
    blob = repository.blob("model.safetensors")
    overwrite(mount, blob)
    with blob.open("rb") as file:
        before = os.fstat(file.fileno())
        assert restored(mount, blob)["healed"]
        assert file.read() != WEIGHTS
        assert os.fstat(file.fileno()).st_ino == before.st_ino
        assert blob.read_bytes() == WEIGHTS
        assert os.stat(blob).st_ino != before.st_ino


def test_a_store_elsewhere_heals_by_copies(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"ipfsfs-heal-{os.getpid()}-{tmp_path.name}"
    mount = mounted(None, "--hub", hub.url, "--store", str(store))
    repository = downloaded(mount, hub, "org/name", FILES)
    mount.seal()
    blob = repository.blob("model.safetensors")
    overwrite(mount, blob)
    assert restored(mount, blob)["healed"][0]["kept"]
    assert blob.read_bytes() == WEIGHTS
    forget_what_is_kept(mount)
    blob.unlink()
    assert restored(mount, blob)["healed"]
    assert sorted(os.listdir(repository.at / "blobs")) == sorted(repository.blob(path).name for path in FILES)
    assert is_clean(mount)


def test_h41_a_token_is_for_the_hub_and_for_the_users_own_links(
    cached: tuple[Mounted, Repository], hub: LocalHub, tmp_path: Path
) -> None:
    mount, repository = cached
    hub.restrict("org/name", "gated", CANARY)
    blob = repository.blob("model.safetensors")
    blob.unlink()
    (left,) = restored(mount, blob, code=1)["not_healed"]
    assert "401" in left["why"]
    assert "--hub-token-file" in left["hint"]
    (tmp_path / "secret").write_text(CANARY + "\n")
    mount.arguments = (*mount.arguments, "--hub-token-file", str(tmp_path / "secret"))
    mount.remount()
    assert restored(mount, blob)["healed"]
    assert blob.read_bytes() == WEIGHTS
    asked = hub.requests()
    assert any(one.authorization == f"Bearer {CANARY}" and one.port != hub.content_port for one in asked)
    assert not any(one.authorization for one in asked if one.port == hub.content_port)
    assert not any(CANARY in one.path for one in asked)
    assert CANARY not in mount.log() + json.dumps(mount.status())
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert not any(CANARY.encode() in text for text in arguments)
    if os.geteuid() == 0:
        blob.unlink()
        for link in (repository.file("model.safetensors"), *(repository.at / "trees").iterdir()):
            os.chown(link, 1234, 1234, follow_symlinks=False)
        before = len(hub.requests())
        restored(mount, blob, code=1)
        assert not any(one.authorization for one in hub.requests()[before:]), "another user made the link"
