"""A view that serves what is in it: to curl, to whom it may, and nothing else."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ipfsfs.origins.signing import HEADER, Asked, Token
from ipfsfs.unixfs import cid
from tests.faults.test_endings import is_back
from tests.support.ageing import AgeingView
from tests.support.hub import LocalHub
from tests.support.mounted import UNASKED_END, Mounted, clear
from tests.support.processes import beside, eventually, parent
from tests.support.repositories import Repository, downloaded
from tests.support.served import TOKEN
from tests.support.site import free_port

WEIGHTS = random.Random(41).randbytes(3_300_000)
OTHERS = random.Random(42).randbytes(1_500_000)
CANARY = b"hf_" + b"canaryCanaryCanaryCanaryCanary0000"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def port() -> int:
    return free_port()


def curl(*arguments: str) -> tuple[int, bytes]:
    """Status and body, by the real curl."""
    done = subprocess.run(
        ["curl", "-sS", "-m", "10", "-o", "-", "-w", "%{stderr}%{http_code}", *arguments],
        capture_output=True,
        check=False,
    )
    return int(done.stderr.split(b"\n")[-1][-3:] or 0), done.stdout


def block(port: int, root: bytes | str, *arguments: str) -> tuple[int, bytes]:
    text = root if isinstance(root, str) else cid.to_text(root)
    return curl(f"http://127.0.0.1:{port}/ipfs/{text}?format=raw", *arguments)


def cid_of(path: Path) -> str:
    eventually(lambda: bool(_cid(path)), f"{path.name} is sealed")
    return _cid(path)


def _cid(path: Path) -> str:
    try:
        return os.getxattr(path, "ipfs.cid").decode()
    except OSError:
        return ""


def served(mount: Mounted) -> dict[str, int]:
    found: dict[str, int] = mount.status()["served"]
    return found


def server_of(mount: Mounted) -> int:
    found = [pid for pid in beside("workers.server.program") if parent(pid) == mount.pid]
    return found[0] if found else 0


@pytest.fixture
def serving(mounted: Callable[..., Mounted], hub: LocalHub, port: int) -> Mounted:
    return mounted(None, "--serve", f"127.0.0.1:{port}", "--hub", hub.url)


def test_a_public_blob_is_served_and_a_private_one_is_not(serving: Mounted, hub: LocalHub, port: int) -> None:
    public = downloaded(serving, hub, "org/public", {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    private = downloaded(serving, hub, "org/private", {"model.safetensors": OTHERS})
    hub.restrict("org/private", "private", "a-token")
    root, hidden = cid_of(public.blob("model.safetensors")), cid_of(private.blob("model.safetensors"))
    eventually(lambda: served(serving)["offered"] == 1, "the public blob is offered")
    status, car = curl(f"http://127.0.0.1:{port}/ipfs/{root}?format=car")
    assert status == 200
    assert WEIGHTS[:1000] in car
    assert len(car) > len(WEIGHTS)
    assert block(port, root)[0] == 200
    assert block(port, cid.raw_cid(sha256(WEIGHTS[: 1 << 20]).digest())) == (200, WEIGHTS[: 1 << 20])
    for absent in (hidden, cid.raw_cid(sha256(OTHERS[: 1 << 20]).digest())):
        assert block(port, absent)[0] == 404
        assert block(port, absent, "-H", "Cache-Control: only-if-cached")[0] == 412
    eventually(lambda: served(serving)["gave_bytes"] > len(WEIGHTS), "what was given is told", within_s=5)


def test_h38_what_is_secret_or_no_promised_blob_is_never_served(serving: Mounted, hub: LocalHub, port: int) -> None:
    """However exactly a file's CID is known."""
    (serving.path / "token").write_bytes(CANARY)
    (serving.path / "notes.bin").write_bytes(OTHERS)
    public = downloaded(serving, hub, "org/public", {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}'})
    cid_of(public.blob("model.safetensors"))
    eventually(lambda: served(serving)["offered"] == 1, "the public blob is offered")
    cid_of(serving.path / "notes.bin")
    for data in (CANARY, OTHERS[: 1 << 20], b'{"a": 1}', public.commit.encode()):
        status, body = block(port, cid.raw_cid(sha256(data).digest()))
        assert (status, body) == (404, b"not here\n")


def test_h47_what_changes_beneath_is_not_served(serving: Mounted, hub: LocalHub, port: int) -> None:
    """The bytes that were compared are those that go out; of a file that rotted there is nothing to send."""
    public = downloaded(serving, hub, "org/public", {"model.safetensors": WEIGHTS})
    leaf = cid.raw_cid(sha256(WEIGHTS[: 1 << 20]).digest())
    other = cid.raw_cid(sha256(WEIGHTS[1 << 20 : 2 << 20]).digest())
    cid_of(public.blob("model.safetensors"))
    eventually(lambda: block(port, leaf)[0] == 200, "it is served")
    with public.blob("model.safetensors").open("r+b") as file:
        file.write(b"other bytes")
    serving.expect_logged.append(r"promise")
    eventually(lambda: block(port, leaf)[0] == 404, "what is changed is served no longer")
    public.blob("model.safetensors").unlink()
    eventually(lambda: block(port, other)[0] == 404, "what is gone is served no longer")


def test_h48_the_server_is_started_again_with_its_offers(serving: Mounted, hub: LocalHub, port: int) -> None:
    public = downloaded(serving, hub, "org/public", {"model.safetensors": WEIGHTS})
    root = cid_of(public.blob("model.safetensors"))
    eventually(lambda: block(port, root)[0] == 200, "it is served")
    serving.expect_logged.append("the server was ended by SIGKILL")
    os.kill(server_of(serving), signal.SIGKILL)
    eventually(lambda: block(port, root)[0] == 200, "it is served again")


def test_the_address_is_free_after_umount_and_the_server_dies_with_the_daemon(
    serving: Mounted, hub: LocalHub, port: int
) -> None:
    assert curl(f"http://127.0.0.1:{port}/ipfs/bafkqaaa?format=raw")[0] == 200
    server = server_of(serving)
    serving.umount()
    assert not Path(f"/proc/{server}").exists()
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
    serving.mount()
    server = server_of(serving)
    serving.kill()
    eventually(lambda: not Path(f"/proc/{server}").exists(), "the server has ended", within_s=5)


def test_the_address_is_free_while_files_are_still_open(serving: Mounted, port: int) -> None:
    """After `umount --lazy`: another view may serve there."""
    (serving.path / "file").write_bytes(b"content")
    with (serving.path / "file").open("rb") as reader:
        serving.umount("--lazy")
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))
        assert reader.read() == b"content"
    eventually(lambda: not Path(f"/proc/{serving.pid}").exists(), "the daemon ends")


def test_words_where_it_cannot_be_served(tmp_path: Path, port: int) -> None:
    at = tmp_path / "cache"
    at.mkdir()
    mount = Mounted(at)
    refused = mount.run("mount", at, "--serve", f"0.0.0.0:{port}", check=False)
    assert refused.returncode == 2
    assert "other machines reach it" in refused.stderr
    assert "--token-file" in refused.stderr
    assert "--open" in refused.stderr
    assert not mount.mounted
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", port))
        busy.listen()
        refused = mount.run("mount", at, "--serve", f"127.0.0.1:{port}", check=False)
    assert refused.returncode != 0
    assert "another program listens there" in refused.stderr
    refused = mount.run("mount", at, "--serve", f"127.0.0.1:{port}", "--share", "all", check=False)
    assert "signed with the site's token" in refused.stderr
    token = tmp_path / "token"
    token.write_text("short")
    refused = mount.run("mount", at, "--serve", f"0.0.0.0:{port}", "--token-file", token, check=False)
    assert "a site's token is one line" in refused.stderr
    assert not mount.mounted


def signed(port: int, root: bytes | str) -> tuple[int, bytes]:
    """A block, as a machine of the site asks for it."""
    text = root if isinstance(root, str) else cid.to_text(root)
    target, host = f"/ipfs/{text}?format=raw", f"127.0.0.1:{port}"
    value = Token.of(TOKEN).sign(Asked("GET", target, host), time.time()).value
    return curl(f"http://{host}{target}", "-H", f"{HEADER}: {value}")


def test_a_sites_own_models_go_to_machines_with_its_token(
    mounted: Callable[..., Mounted], hub: LocalHub, port: int, tmp_path: Path
) -> None:
    """`--share all`, on all addresses; and what `status` says of it. The token is in no log and no argument."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    mount = mounted(
        None, "--serve", f"0.0.0.0:{port}", "--token-file", str(file), "--share", "all", "--open", "--hub", hub.url
    )
    private = downloaded(mount, hub, "org/private", {"model.safetensors": OTHERS})
    hub.restrict("org/private", "private", "a-token")
    root = cid_of(private.blob("model.safetensors"))
    eventually(lambda: signed(port, root)[0] == 200, "it is served")
    assert block(port, root)[0] == 404
    status, body = curl(
        f"http://127.0.0.1:{port}/ipfs/{root}?format=raw", "-H", f"{HEADER}: v1 1 {'0' * 32} {'0' * 64}"
    )
    assert status == 401
    assert b"another token" in body
    said = mount.run("status", mount.path).stdout
    assert "every blob" in said
    eventually(lambda: "given to 1 machine" in mount.run("status", mount.path).stdout, "what was given is told", 5)
    assert TOKEN not in mount.log() + said
    assert TOKEN not in Path(f"/proc/{server_of(mount)}/cmdline").read_text()


def test_a_blob_behind_a_link_into_the_shared_store_is_served(serving: Mounted, hub: LocalHub, port: int) -> None:
    """H49: its name there promises nothing; whose it is, links say."""
    files = {"model.safetensors": WEIGHTS}
    commit = hub.add("org/public", files)
    repository = serving.path / "hub" / "models--org--public"
    shared = serving.path / "hub" / "blobs" / "ee" / ("e" * 64)
    for directory in (shared.parent, repository / "blobs", repository / "snapshots" / commit):
        directory.mkdir(parents=True)
    (serving.path / "hub" / ".huggingface-shared-blobs").touch()
    (shared.parent / "part").write_bytes(WEIGHTS)
    (shared.parent / "part").rename(shared)
    name = sha256(WEIGHTS).hexdigest()
    (repository / "blobs" / name).symlink_to(f"../../blobs/ee/{shared.name}")
    (repository / "snapshots" / commit / "model.safetensors").symlink_to(f"../../blobs/{name}")
    root = cid_of(shared)
    eventually(lambda: block(port, root)[0] == 200, "it is served")


def _second_view(
    mounted: Callable[..., Mounted], hub: LocalHub, port: int, first: Repository, content: bytes
) -> tuple[Mounted, Path, int]:
    """A view that has a public blob as a placeholder, with another that serves it as its gateway. Returns the view, the
    blob, and the port at which it serves itself."""
    root = cid_of(first.blob("model.safetensors"))
    eventually(lambda: block(port, root)[0] == 200, "it is served")
    own_port = free_port()
    own = ("--serve", f"127.0.0.1:{own_port}", "--hub", hub.url, "--gateway", f"http://127.0.0.1:{port}")
    view = mounted(None, *own)
    repository = view.path / "hub" / "models--org--public"
    for directory in ("blobs", f"snapshots/{first.commit}"):
        (repository / directory).mkdir(parents=True)
    blob = repository / "blobs" / sha256(content).hexdigest()
    blob.symlink_to(f"ipfs://{root}?size={len(content)}")
    (repository / "snapshots" / first.commit / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
    return view, blob, own_port


def test_what_is_being_loaded_is_served_leaf_by_leaf(
    serving: Mounted, mounted: Callable[..., Mounted], hub: LocalHub, port: int
) -> None:
    """A second view has a placeholder of a public blob: it serves the leaves that it has had, and in the end all."""
    content = random.Random(43).randbytes(24 << 20)
    public = downloaded(serving, hub, "org/public", {"model.safetensors": content})
    view, blob, other_port = _second_view(mounted, hub, port, public, content)
    first, last = (cid.raw_cid(sha256(part).digest()) for part in (content[: 1 << 20], content[-(1 << 20) :]))
    with blob.open("rb", buffering=0) as reader:
        assert reader.read(4096) == content[:4096]
        eventually(lambda: block(other_port, first)[0] == 200, "what is here is served")
        assert block(other_port, last)[0] == 404
    assert blob.read_bytes() == content
    eventually(lambda: block(other_port, last)[0] == 200, "all of it is served")
    eventually(lambda: served(view)["offered"] == 1, "it is one file")
    blob.unlink()
    eventually(lambda: block(other_port, last)[0] == 404, "what was removed is not")


def test_h38_what_becomes_private_while_it_is_loaded_is_served_no_more(
    serving: Mounted, mounted: Callable[..., Mounted], hub: LocalHub, port: int
) -> None:
    content = random.Random(44).randbytes(24 << 20)
    public = downloaded(serving, hub, "org/public", {"model.safetensors": content})
    view, blob, other_port = _second_view(mounted, hub, port, public, content)
    first = cid.raw_cid(sha256(content[: 1 << 20]).digest())
    with blob.open("rb", buffering=0) as reader:
        assert reader.read(4096) == content[:4096]
        eventually(lambda: block(other_port, first)[0] == 200, "what is here is served")
        hub.restrict("org/public", "private", "a-token")
        assert blob.read_bytes() == content  # while it is open: one load, which was offered when it began
        view.settle()
    view.seal()
    eventually(lambda: block(other_port, first)[0] == 404, "it is for nobody now", 20)


@pytest.fixture
def ageing(hub: LocalHub, port: int, tmp_path: Path) -> Iterator[AgeingView]:
    (tmp_path / "cache").mkdir()
    view = AgeingView(tmp_path / "cache", port=port, hub=hub.url)
    try:
        yield view.mount()
        view.finish()
    finally:
        clear(view.path)
        view.close()


def test_the_hub_is_asked_each_day_whether_it_gives_a_blob_to_anyone(
    ageing: AgeingView, hub: LocalHub, port: int
) -> None:
    """What it gives no longer is served no longer; what it gives again, again."""
    public = downloaded(ageing, hub, "org/public", {"model.safetensors": WEIGHTS})
    root = cid_of(public.blob("model.safetensors"))
    eventually(lambda: block(port, root)[0] == 200, "it is served")
    for access, status in (("private", 404), ("public", 200)):
        hub.restrict("org/public", access, "a-token")
        assert block(port, root)[0] != status, "it was asked less than a day ago"
        ageing.a_day_passes()
        eventually(lambda status=status: block(port, root)[0] == status, f"it is {access}")  # type: ignore[misc]


def test_what_is_served_is_announced_to_other_machines(
    mounted: Callable[..., Mounted], hub: LocalHub, port: int
) -> None:
    """Soon after its seal: the aim is 10 seconds, on a machine that has nothing else to do."""
    other = free_port()
    peers = f"127.0.0.1:{port},127.0.0.1:{other}"
    common = ("--peers", peers, "--hub", hub.url)
    one = mounted(None, "--serve", f"127.0.0.1:{port}", *common)
    mounted(None, "--serve", f"127.0.0.1:{other}", *common)
    public = downloaded(one, hub, "org/public", {"model.safetensors": WEIGHTS})
    root = cid_of(public.blob("model.safetensors"))
    digest = sha256(WEIGHTS).hexdigest()
    for asked in (port, other):  # of two machines both are owners
        eventually(lambda asked=asked: _found(asked, digest) == root, "it is announced")  # type: ignore[misc]
    public.blob("model.safetensors").unlink()
    eventually(lambda: block(port, root)[0] == 404, "what is gone is served no longer")


def _found(port: int, digest: str) -> str:
    """The root that a machine knows for a digest."""
    question = json.dumps({"id": "f" * 32, "blobs": [digest]})
    kind = ("-H", "Content-Type: application/json")
    status, body = curl(f"http://127.0.0.1:{port}/ipfsfs/v1/ask", "--data", question, *kind)
    assert status == 200, body
    found: dict[str, str] = json.loads(body)["found"].get(digest, {})
    return found.get("root", "")


def test_h48_a_server_that_is_stopped_is_replaced(serving: Mounted, port: int) -> None:
    probe = f"http://127.0.0.1:{port}/ipfs/bafkqaaa?format=raw"
    stopped = server_of(serving)
    serving.expect_logged.append("the server hangs")
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: server_of(serving) not in (0, stopped), "there is another", within_s=60)
    eventually(lambda: curl(probe)[0] == 200, "it answers")


def test_a_view_that_is_mounted_says_how_it_serves(serving: Mounted, port: int) -> None:
    again = serving.run("mount", serving.path, "--serve", f"127.0.0.1:{port}", "--share", "all")
    assert again.stdout.splitlines()[1:-1] == ["  --share all is not in force (in force: public)."]


def test_a_daemon_that_is_started_again_serves_again(mounted: Callable[..., Mounted], hub: LocalHub, port: int) -> None:
    mount = mounted(None, "--restart", "--serve", f"127.0.0.1:{port}", "--hub", hub.url)
    public = downloaded(mount, hub, "org/public", {"model.safetensors": WEIGHTS})
    root = cid_of(public.blob("model.safetensors"))
    eventually(lambda: block(port, root)[0] == 200, "it is served")
    mount.expect_logged.append(UNASKED_END)
    killed = mount.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: is_back(mount, killed), "the view is back")
    eventually(lambda: block(port, root)[0] == 200, "it is served again", within_s=30)
