"""Blobs that other machines have are there when a client looks: on the second machine nothing is downloaded."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.elsewhere import plain_link
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually
from tests.support.site import free_port
from tests.support.two_machines import REPO, OnLoopback, digest, liar, taken, two
from tests.support.users import User
from tests.support.weights import safetensors

WEIGHTS = safetensors({"a": random.Random(1).randbytes(12_000_000)})
PICKLE = random.Random(2).randbytes(3_000_000)
FILES = {"model.safetensors": WEIGHTS, "pytorch_model.bin": PICKLE, "config.json": b"{}"}
LARGE = 2
"""How many of them are blobs named by their sha256."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "served") as running:
        running.add(REPO, dict(FILES))
        yield running


@pytest.fixture
def machines(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[tuple[OnLoopback, OnLoopback]]:
    """Two of them, of which the first has downloaded the model."""
    one, other = two(mounted, hub, tmp_path)
    one.download()
    one.announced(LARGE)
    yield one, other
    other.bring_all()


@pytest.mark.parametrize("words", [(), ("model.safetensors",)], ids=["snapshot_download", "hf_hub_download"])
def test_the_second_machine_downloads_nothing_that_the_first_has(
    machines: tuple[OnLoopback, OnLoopback], hub: LocalHub, words: tuple[str, ...]
) -> None:
    _, other = machines
    before = len(taken(hub, "model.safetensors"))
    got = other.download(*words)
    file = got / "model.safetensors" if got.is_dir() else got
    assert file.read_bytes() == WEIGHTS
    if not words:
        assert (got / "pytorch_model.bin").read_bytes() == PICKLE
    assert len(taken(hub, "model.safetensors")) == before
    assert len(taken(hub, "pytorch_model.bin")) == 1
    eventually(lambda: other.peers()[0]["announced"] >= 1, "the second machine offers it too", 20)


def test_machines_that_start_at_once_download_once(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    one, other = two(mounted, hub, tmp_path)
    hub.spoil(REPO, "model.safetensors", rate=6_000_000)
    threads = [threading.Thread(target=machine.download) for machine in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for machine in (one, other):
        assert machine.blob(WEIGHTS).read_bytes() == WEIGHTS
        assert machine.blob(PICKLE).read_bytes() == PICKLE
    assert len(taken(hub, "model.safetensors")) == 1
    assert len(taken(hub, "pytorch_model.bin")) == 1


def test_h50_what_is_removed_stays_removed_and_can_be_downloaded(
    machines: tuple[OnLoopback, OnLoopback], hub: LocalHub
) -> None:
    _, other = machines
    other.download()
    other.blob(WEIGHTS).unlink()
    for _ in range(20):
        assert not other.blob(WEIGHTS).exists()
        time.sleep(0.05)
    before = len(taken(hub, "model.safetensors"))
    other.download()
    assert other.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert len(taken(hub, "model.safetensors")) == before + 1, "it is downloaded as on plain disk"


def test_the_clients_own_commands_work_on_what_appeared(machines: tuple[OnLoopback, OnLoopback]) -> None:
    _, other = machines
    snapshot = other.download()
    assert other.download(HF_HUB_OFFLINE="1") == snapshot
    verified = other.clients.hf_ok("cache", "verify", REPO)
    assert "verified" in verified.lower() or "match" in verified.lower()
    other.clients.hf_ok("cache", "rm", f"model/{REPO}", "--yes")
    assert not other.repository.exists()


def test_force_download_downloads(machines: tuple[OnLoopback, OnLoopback], hub: LocalHub) -> None:
    _, other = machines
    other.download()
    before = len(taken(hub, "model.safetensors"))
    other.download("--force-download")
    assert len(taken(hub, "model.safetensors")) == before + 1
    assert other.blob(WEIGHTS).read_bytes() == WEIGHTS


def test_what_nothing_here_names_is_not_asked_about(machines: tuple[OnLoopback, OnLoopback]) -> None:
    """Else any process could speak to other machines by `stat`."""
    _, other = machines
    (other.repository / "blobs").mkdir(parents=True)
    for _ in range(5):
        assert not other.blob(WEIGHTS).exists()
        time.sleep(0.1)
    other.wants({"model.safetensors": WEIGHTS})
    other.appears(WEIGHTS)
    assert other.blob(WEIGHTS).stat().st_size == len(WEIGHTS)


def test_h50_while_a_download_is_under_way_nothing_appears(
    machines: tuple[OnLoopback, OnLoopback],
) -> None:
    _, other = machines
    other.wants({"model.safetensors": WEIGHTS})
    (other.repository / "blobs" / f"{digest(WEIGHTS)}.0123abcd.incomplete").write_bytes(b"x")
    with (other.repository / "blobs" / f"{digest(WEIGHTS)}.0123abcd.incomplete").open("ab") as download:
        for _ in range(10):
            assert not other.blob(WEIGHTS).exists(), "a download is under way"
            time.sleep(0.05)
        download.write(b"y")
    other.appears(WEIGHTS)


def test_h40_a_machine_that_dies_after_the_lookup_costs_a_download(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a token of this site alone, and of no other one")
    alone = "--hub", "none", "--share", "all", "--token-file", str(token)
    one, other = two(mounted, hub, tmp_path, "--patience", "2", *alone)
    one.download()
    one.announced(LARGE)
    other.view.expect_logged += ["no other machine gives it any more", "is not wholly here", "is not here, and cannot"]
    other.wants({"pytorch_model.bin": PICKLE})
    blob = other.appears(PICKLE)
    one.view.kill()
    ipfsfs("umount", "--lazy", one.view.path, check=False)
    began = time.monotonic()
    with blob.open("rb") as file, pytest.raises(OSError) as failed:  # noqa: PT011
        file.read()
    assert failed.value.errno == errno.EIO
    assert time.monotonic() - began < 20
    assert not blob.exists(), "the next call downloads"


@pytest.fixture
def lied_to(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[OnLoopback]:
    """A machine whose only peer lies: it has other weights and another pickle under the names of the right ones."""
    ours, theirs = free_port(), free_port()
    machine = OnLoopback.make(mounted, hub, tmp_path / "ours", (ours, theirs))
    machine.view.expect_logged += ["another machine said", "its name promises another"]
    told = {digest(WEIGHTS): OTHER_WEIGHTS, digest(PICKLE): OTHER_PICKLE}
    lying = liar(tmp_path / "liar", theirs, [ours], told)
    try:
        yield machine
    finally:
        lying.server.close()


OTHER_WEIGHTS = safetensors({"a": random.Random(3).randbytes(12_000_000)})
OTHER_PICKLE = random.Random(4).randbytes(3_000_000)


def test_h52_a_pickle_is_served_to_nobody_before_it_is_proven(lied_to: OnLoopback, hub: LocalHub) -> None:
    lied_to.wants({"pytorch_model.bin": PICKLE})
    lied_to.appears(PICKLE)
    file = lied_to.links("pytorch_model.bin", PICKLE)
    with file.open("rb") as opened:
        for offset in (0, 1_000_000, 0):
            with pytest.raises(OSError) as failed:  # noqa: PT011
                os.pread(opened.fileno(), 100, offset)
            assert failed.value.errno == errno.EIO
    assert not lied_to.blob(PICKLE).exists()
    lied_to.download("pytorch_model.bin")
    assert lied_to.blob(PICKLE).read_bytes() == PICKLE
    assert len(taken(hub, "pytorch_model.bin")) == 1


def test_h52_a_file_without_code_is_served_until_it_proves_to_be_another(lied_to: OnLoopback) -> None:
    lied_to.wants({"model.safetensors": WEIGHTS})
    lied_to.appears(WEIGHTS)
    file = lied_to.links("model.safetensors", WEIGHTS)
    with file.open("rb") as opened:
        assert os.pread(opened.fileno(), 100, 0) == OTHER_WEIGHTS[:100]
        opened.seek(6_000_000)
        opened.read(1)

        def is_refused() -> bool:
            try:
                os.pread(opened.fileno(), 100, random.randrange(1_000_000, 12_000_000))
            except OSError as error:
                return error.errno == errno.EIO
            return False

        eventually(is_refused, "the whole is compared, and given to nobody", 20)
    assert not lied_to.blob(WEIGHTS).exists()
    lied_to.download("model.safetensors")
    assert lied_to.blob(WEIGHTS).read_bytes() == WEIGHTS


def test_h52_one_name_of_a_format_with_code_is_enough_to_wait_for_the_proof(lied_to: OnLoopback) -> None:
    lied_to.wants({"model.safetensors": WEIGHTS, "model.bin": WEIGHTS})
    lied_to.appears(WEIGHTS)
    with lied_to.links("model.safetensors", WEIGHTS).open("rb") as opened, pytest.raises(OSError):  # noqa: PT011
        opened.read(100)


@pytest.fixture
def beside_a_silent_one(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[OnLoopback]:
    """A machine whose peers answer nothing, to no connection."""
    with ExitStack() as ended:
        ports = [free_port()]
        for _ in range(3):
            silent = ended.enter_context(socket.socket())
            silent.bind(("127.0.0.1", 0))
            silent.listen(64)
            ports.append(silent.getsockname()[1])
        yield OnLoopback.make(mounted, hub, tmp_path / "ours", ports)


def test_h44_a_lookup_waits_a_moment_and_other_calls_in_the_directory_go_on(beside_a_silent_one: OnLoopback) -> None:
    machine = beside_a_silent_one
    files = {f"{number}.safetensors": b"%d" % number * 100_000 for number in range(40)}
    machine.wants(files)
    time.sleep(0.3)  # the listing is read, and the others are asked
    took = []
    for data in files.values():
        began = time.monotonic()
        assert not machine.blob(data).exists()
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.05, "20 ms, and what this machine is busy with"
    assert max(took) < 0.5, "the answer that does not come takes longer"
    began = time.monotonic()
    (machine.repository / "blobs" / "other").write_bytes(b"x")
    (machine.repository / "blobs" / "other").rename(machine.repository / "blobs" / "another")
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    machine.download()
    assert machine.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert time.monotonic() - began < 20, "who says nothing ends no download"


def test_who_only_downloads_has_it_all_and_may_go_offline(
    machines: tuple[OnLoopback, OnLoopback], hub: LocalHub
) -> None:
    one, other = machines
    got = other.download()
    blobs = [other.blob(WEIGHTS), other.blob(PICKLE)]
    eventually(lambda: [plain_link(other.view, path) for path in blobs] == [None, None], "all of it is brought", 30)
    one.view.umount()
    assert (got / "model.safetensors").read_bytes() == WEIGHTS
    assert (got / "pytorch_model.bin").read_bytes() == PICKLE
    assert len(taken(hub, "pytorch_model.bin")) == 1


def test_what_appeared_is_had_after_a_restart_too(machines: tuple[OnLoopback, OnLoopback], hub: LocalHub) -> None:
    _, other = machines
    other.download()
    other.view.remount()
    assert other.blob(PICKLE).read_bytes() == PICKLE
    assert other.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert len(taken(hub, "model.safetensors")) == 1
    assert len(taken(hub, "pytorch_model.bin")) == 1


def test_h49_what_came_by_xet_is_linked_to_by_the_client_itself(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    hub.add("org/other", {"copy.safetensors": WEIGHTS}, xet=True)
    hub.add(REPO, dict(FILES), xet=True)
    one, other = two(mounted, hub, tmp_path)
    other.clients.hf_ok("download", "org/other", "--quiet")
    one.download()
    one.bring_all()
    one.announced(LARGE)
    other.download()
    link = os.readlink(other.blob(WEIGHTS))
    assert link.startswith("../../blobs/"), "the store that the clients share has it"
    assert (other.download() / "model.safetensors").read_bytes() == WEIGHTS
    other.bring_all()


def test_h50_a_name_that_appeared_is_a_file_to_every_call(machines: tuple[OnLoopback, OnLoopback]) -> None:
    _, other = machines
    other.wants({"model.safetensors": WEIGHTS, "pytorch_model.bin": PICKLE})
    blob = other.appears(WEIGHTS)
    with pytest.raises(FileExistsError):
        os.open(blob, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with pytest.raises(FileExistsError):
        blob.symlink_to("elsewhere")
    mine = other.repository / "blobs" / "mine.incomplete"
    mine.write_bytes(WEIGHTS)
    with pytest.raises(FileExistsError):
        os.link(mine, blob)
    mine.rename(blob)
    assert blob.read_bytes() == WEIGHTS
    assert other.appears(PICKLE).read_bytes() == PICKLE


@pytest.mark.parametrize("words", [(), ("model.safetensors",)], ids=["snapshot_download", "hf_hub_download"])
def test_machines_do_not_wait_for_what_is_not_for_all(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path, words: tuple[str, ...]
) -> None:
    """What another machine downloads and will not offer, each has by itself, at the same time."""
    one, other = two(mounted, hub, tmp_path)
    hub.restrict(REPO, "private", "hf_secretOfThisTest")
    if words:
        for machine in (one, other):
            machine.download("config.json", HF_TOKEN="hf_secretOfThisTest")  # noqa: S106
    hub.spoil(REPO, "model.safetensors", rate=1_000_000)
    began = time.monotonic()
    threads = [
        threading.Thread(target=machine.download, args=words, kwargs={"HF_TOKEN": "hf_secretOfThisTest"})
        for machine in (one, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < 1.7 * len(WEIGHTS) / 1_000_000, "not one after the other"
    for machine in (one, other):
        assert machine.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert len(taken(hub, "model.safetensors")) == 2


def test_umount_says_what_brings_what_appeared(machines: tuple[OnLoopback, OnLoopback]) -> None:
    one, other = machines
    other.download()
    said = other.view.run("umount", other.view.path).stdout
    assert f"--peers 127.0.0.1:{min(one.port, other.port)}," in said
    other.view.mount()


def test_why_says_who_gave_what_appeared(machines: tuple[OnLoopback, OnLoopback]) -> None:
    one, other = machines
    other.download()
    assert other.blob(PICKLE).read_bytes() == PICKLE
    assert f"peer 127.0.0.1:{one.port}" in other.view.run("why", other.blob(PICKLE)).stdout


def test_what_another_repository_here_has_is_not_downloaded_again(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    hub.add("org/other", {"copy.safetensors": WEIGHTS})
    port = free_port()
    machine = OnLoopback.make(mounted, hub, tmp_path / "ours", (port, free_port()))
    machine.download()
    machine.announced(LARGE)
    got = Path(machine.clients.hf_ok("download", "org/other", "--quiet").strip().splitlines()[-1])
    assert (got / "copy.safetensors").read_bytes() == WEIGHTS
    machine.bring_all()
    copies = [one for one in hub.requests("org/other") if one.method == "GET" and one.sent > 1_000]
    assert not copies


@pytest.mark.root
def test_h50_nothing_appears_to_who_could_not_make_it(
    hub: LocalHub, open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    one, other = two(mounted, hub, open_to_all, "--allow-other")
    one.download()
    one.announced(LARGE)
    other.wants({"model.safetensors": WEIGHTS, "pytorch_model.bin": PICKLE})
    look = f"do(lambda: shown({str(other.blob(WEIGHTS))!r}))"
    for _ in range(10):
        assert User(4_711).run(look, Path("/")) == ["ENOENT"]
    other.appears(WEIGHTS)
    (shown,) = User(4_711).run(look, Path("/"))
    assert shown[1] == 0
    theirs = other.repository / "blobs"
    os.chown(theirs, 4_711, 4_712)
    look = f"do(lambda: shown({str(other.blob(PICKLE))!r}))"
    (shown,) = User(4_711).run(look, Path("/"))
    assert shown[2] == 4_712, "the group of the directory"
    assert other.blob(PICKLE).read_bytes() == PICKLE
    eventually(lambda: other.blob(PICKLE).stat().st_uid == 4_711, "once it is here it is the directory's owner's")
    other.bring_all()
