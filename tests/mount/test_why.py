"""`ipfsfs why`: for a person first, with advice that can be followed; and answered while the databases are busy."""

from __future__ import annotations

import errno
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.daemon import mounts
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.guarding import Guarding
from ipfsfs.daemon.lifecycle import Running
from ipfsfs.daemon.questions import why
from ipfsfs.daemon.upstream.following import Following
from ipfsfs.exchange.eviction import Possible
from ipfsfs.exchange.why import Why
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import boot_id
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.sealer.client import open_sealer
from tests.support.calls import refuses
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.rot import Disk, spoilable_disk
from tests.support.stores import held_elsewhere

LEAF = 1 << 20


def test_leaves_are_listed_when_asked_for(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    path = mount.path / "weights.bin"
    path.write_bytes(b"w" * (20 * LEAF + 5))
    mount.seal()
    short = ipfsfs("why", path).stdout
    found = json.loads(ipfsfs("why", path, "--json").stdout)
    assert len(short.splitlines()) < 10
    assert f" {found['cid']}\n" in short
    assert not any(leaf["cid"] in short for leaf in found["leaves"])
    assert (len(found["leaves"]), found["leaves_not_shown"]) == (16, 5)
    for _ in range(2):
        everything = json.loads(ipfsfs("why", path, "--leaves", "--json").stdout)
        assert (len(everything["leaves"]), everything["leaves_not_shown"]) == (21, 0)
        listed = [line.split() for line in ipfsfs("why", path, "--leaves").stdout.splitlines()][-21:]
        assert listed == [
            [str(at * LEAF), str(leaf["length"]), leaf["cid"]] for at, leaf in enumerate(everything["leaves"])
        ]
        if mount.mounted:
            mount.umount()


@pytest.mark.parametrize(
    ("path", "advised"),
    [
        ("plain", None),
        ("etc/passwd", None),
        ("src/huggingface/setup.py", None),
        (".cache/huggingface/hub/version.txt", ".cache/huggingface"),
        ("data/hub/models--org--name/refs/main", "data"),
        ("data/models--org--name/refs/main", "data"),
        ("home of hf/anything", "home of hf"),
    ],
)
def test_mounting_is_advised_for_caches_only(tmp_path: Path, path: str, advised: str | None) -> None:
    at = tmp_path / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(b"content")
    env = environment(HF_HOME=str(tmp_path / "home of hf"))
    for command in ("why", "verify", "seal"):
        done = ipfsfs(command, at, check=False, env=env)
        assert done.returncode == 5, command
        assert f"{at} is in no mounted view" in done.stderr
        advice = re.findall(r"ipfsfs mount (.*)", done.stderr)
        assert advice == ([f"'{tmp_path / advised}'" if " " in advised else f"{tmp_path / advised}"] if advised else [])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


@pytest.mark.root
@pytest.mark.usefixtures("unasked")
def test_what_to_remove_is_one_command_in_the_log_and_everywhere(
    disk: Disk, tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    """Of a name that Python and a shell quote in different ways."""
    name = "a\nb'c\\d"
    mount = mounted(disk.cache, "--store", str(tmp_path / "store"))
    path = mount.path / name
    path.write_bytes(b"x" * 200_000)
    mount.seal()
    disk.rot(name, 5)
    mount.expect_logged.append("rot: bytes from 0 on")
    refuses(errno.EIO, path.read_bytes)
    (logged,) = [line for line in mount.log().splitlines() if "rot: bytes" in line]
    shown = [mount.run(*words, check=False).stdout for words in (("verify", path), ("why", path), ("status", path))]
    commands = {found for text in (logged, *shown) for found in re.findall(r"restore (\S.*)$", text, re.MULTILINE)}
    assert len(commands) == 1, commands
    stat = ["bash", "-c", f"stat -c %i {commands.pop()}"]
    did = subprocess.run(stat, cwd="/", capture_output=True, text=True, check=False)
    assert did.stdout == f"{path.stat().st_ino}\n", did.stderr
    path.unlink()


def test_the_view_serves_while_why_waits_for_the_ledger(tmp_path: Path) -> None:
    """Its lock may be held by a thread that waits for the disk."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "file").write_bytes(b"content")
    store = Store.open(tmp_path / "cache.ipfsfs")
    ledger = recovery.open_ledger(store)
    plain = PlainDirectory.open(cache)
    try:
        found = trio.run(partial(_ask_while_locked, cache, store, ledger, plain))
    finally:
        plain.close()
        ledger.close()
        store.close()
    assert (found.kind, found.wrong) == ("content", ())


async def _ask_while_locked(cache: Path, store: Store, ledger: Ledger, plain: PlainDirectory) -> Why:
    found: list[Why] = []
    quarantine = Quarantine(store.quarantine_fd)
    async with (
        open_sealer(plain.fd) as sealer,
        open_fetcher(store.extents_fd, store.blocks_fd, plain.fd, ()) as fetcher,
        trio.open_nursery() as nursery,
    ):
        dependencies = Dependencies(
            plain=plain,
            mountpoint=cache,
            place=root_place(bytes(cache)),
            index=None,
            ledger=ledger,
            quarantine=quarantine,
            sealer=sealer,
            chunker="auto",
            boot=boot_id(),
            ownership=Ownership(root=False, uid=0),
            descriptor_limit=1000,
            fetcher=fetcher,
            extents=Extents(store.extents_fd),
            patience_s=1.0,
            cache_size=None,
            checking=Checking.of(plain.fd),
            native_from=0,
            eviction=Possible(has_origins=False, has_hub=False, store_fd=-1, plain_fd=-1),
            degraded="there is no index here",
        )
        mount = mounts.Mount(2, 1, plain.dev, cache, "fuse.ipfsfs", str(store.directory), ())
        config = Config(cache, store.directory)
        guarding = Guarding.start(config, store)
        running = Running(
            config=config,
            store=store,
            quarantine=quarantine,
            view=View.build(dependencies, nursery),
            sealer=sealer,
            guarding=guarding,
            following=Following.of(None, cache, store.directory),
            mount=mount,
            features=[],
            ended=trio.Event(),
        )

        async def ask() -> None:
            found.append(await why.Question(b"file").answer(running, lambda _: None))

        async with trio.open_nursery() as asking:
            with held_elsewhere(ledger._database._turn):
                asking.start_soon(ask)
                await trio.sleep(0.3)
                assert not found
        with guarding._process as guardian:  # there is nothing to guard, and this process goes on
            guardian.kill()
        running.view.nodes.close()
        nursery.cancel_scope.cancel()
    return found[0]


def _told(path: Path) -> tuple[object, object, str]:
    found = json.loads(ipfsfs("why", path, "--json").stdout)
    return found.get("checked_by"), found.get("native"), found.get("native_why", "")


@pytest.fixture(params=["ext4", "btrfs"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Disk]]:
    """A disk that checks nothing, and one that does."""
    with spoilable_disk(tmp_path, 512, request.param) as made:
        yield request.param, made


@pytest.mark.root
@pytest.mark.usefixtures("unasked")
def test_h51_it_says_who_checks_what_is_read_of_a_file(
    either: tuple[str, Disk], mounted: Callable[..., Mounted]
) -> None:
    """With a daemon, and of the plain directory; never of what has no content."""
    kind, disk = either
    mount = mounted(disk.cache)
    path = mount.path / "weights.bin"
    path.write_bytes(b"w" * (20 * LEAF + 5))
    (mount.path / "link").symlink_to("weights.bin")
    mount.seal()
    by, native, why_not = _told(path)
    assert by == ("filesystem" if native else "read")
    assert native or why_not
    (line,) = [line for line in ipfsfs("why", path).stdout.splitlines() if line.startswith("reads")]
    assert ("checked by the filesystem" if native else "checked by the daemon") in line
    if kind == "ext4":
        assert native is False
        assert "ext4 does not check" in why_not
    status = mount.status()
    assert status["native"] == native == (kind == "btrfs" and "passthrough" in status["features"])
    assert status["checked_by"] == by
    assert "reads" in mount.run("status", mount.path).stdout
    for other in (mount.path, mount.path / "link"):
        found = json.loads(ipfsfs("why", other, "--no-dereference", "--json").stdout)
        assert {found["checked_by"], found["native"], found["native_why"]} == {None}

    mount.umount()
    by, native, why_not = _told(path)
    assert native is False
    assert by == ("filesystem" if kind == "btrfs" else "nothing")
    assert "nothing is mounted" in why_not
    assert "not native: nothing is mounted" in ipfsfs("why", path).stdout
