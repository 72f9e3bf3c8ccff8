"""A view and a store without the kernel, where a test gives the order in which things happen to a file."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

from ipfsfs.caches.registry import root_place
from ipfsfs.exchange.eviction import Possible
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import Seal, boot_id
from ipfsfs.view.access import Access
from ipfsfs.view.attributes import Changes
from ipfsfs.view.backing import Node
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.sealer.client import open_sealer
from tests.support.seals import seal_of
from tests.support.stores import held_elsewhere

OLD: Final = b"as downloaded"
BLOB: Final = f"hub/models--org--name/blobs/{hashlib.sha256(OLD).hexdigest()}"


@dataclass(slots=True, frozen=True)
class _Program:
    uid: int = os.getuid()
    gid: int = os.getgid()
    pid: int = os.getpid()
    umask: int = 0o022


@dataclass(slots=True, frozen=True)
class _Sealed:
    """A view of one blob, which is sealed; and where copies are kept."""

    view: View
    node: Node
    kept_in: Path

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in self.kept_in.iterdir() if path.suffix != ".json"]


@asynccontextmanager
async def _sealed(tmp_path: Path) -> AsyncIterator[_Sealed]:
    path = tmp_path / "cache" / BLOB
    path.parent.mkdir(parents=True)
    path.write_bytes(OLD)
    store, plain = Store.open(tmp_path / "store"), PlainDirectory.open(tmp_path / "cache")
    ledger = recovery.open_ledger(store)
    index = recovery.open_index(store, ledger, plain_root=plain.root)
    async with (
        open_sealer(plain.fd) as sealer,
        open_fetcher(store.extents_fd, store.blocks_fd, plain.fd, ()) as fetcher,
        trio.open_nursery() as behind,
    ):
        dependencies = Dependencies(
            plain=plain,
            mountpoint=tmp_path / "cache",
            place=root_place(bytes(tmp_path / "cache")),
            index=index,
            ledger=ledger,
            quarantine=Quarantine(store.quarantine_fd),
            sealer=sealer,
            chunker="auto",
            boot=boot_id(),
            ownership=Ownership(root=False, uid=os.getuid()),
            descriptor_limit=1000,
            fetcher=fetcher,
            extents=Extents(store.extents_fd),
            patience_s=1.0,
            cache_size=None,
            checking=Checking.of(plain.fd),
            native_from=0,
            eviction=Possible(has_origins=False, has_hub=False, store_fd=-1, plain_fd=-1),
            degraded="",
        )
        view = View.build(dependencies, behind)
        node = view.nodes.root
        for name in os.fsencode(BLOB).split(b"/"):
            entry = view.names.lookup(node, name)
            assert entry is not None
            node = entry.node
        view.seals.put(_seal(path))
        yield _Sealed(view, node, tmp_path / "store" / "quarantine")
        behind.cancel_scope.cancel()
    view.close()
    view.seals.retire()
    store.close()
    plain.close()


def _seal(path: Path) -> Seal:
    with path.open("rb") as file:
        identity = identity_of(file.fileno())
    return seal_of(OLD, identity.ino, **{name: getattr(identity, name) for name in _OF_FILE})


_OF_FILE: Final = ("dev", "born_ns", "size", "mtime_ns", "ctime_ns")


async def _until(true: Callable[[], object]) -> None:
    with trio.fail_after(30):
        while not true():  # noqa: ASYNC110  what is waited for is a field
            await trio.sleep(0.01)


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDONLY])
def test_what_a_blob_was_is_kept_though_its_last_user_goes_while_it_is_truncated(tmp_path: Path, access: int) -> None:
    async def run() -> None:
        async with _sealed(tmp_path) as sealed:
            view, node = sealed.view, sealed.node
            opened = await view.open(node, Access.parse(access), _Program())
            async with trio.open_nursery() as nursery:
                with held_elsewhere(view.seals.ledger._database._turn):
                    nursery.start_soon(view.change, node, Changes(size=2), None, _Program())
                    await _until(lambda: (file := view.files.of(node)) is not None and file.broken is not None)
                    view.handles.release(opened.number)
            assert sealed.kept() == [OLD]
            await _until(lambda: view.seals.is_found(os.fsencode(BLOB)))
            assert view.files.of(node) is None
            assert view.seals.get(node.ino) is None

    trio.run(run)


def test_h17_no_lapsed_seal_is_unmarked_when_the_store_is_released(tmp_path: Path) -> None:
    """A file may be open for writing by then, or about to be opened: the store is another view's from then on."""

    async def run() -> None:
        async with _sealed(tmp_path) as sealed:
            view, node = sealed.view, sealed.node
            seal = view.seals.get(node.ino)
            assert seal is not None
            view.seals.lapse(node.ino)
            await view.give_up_seals_of_writers()
            assert (node.ino, seal.seal_id) in view.seals.ledger.marks

    trio.run(run)


def test_h25_a_late_check_outlasts_a_moment_without_descriptors(tmp_path: Path) -> None:
    async def run() -> None:
        async with _sealed(tmp_path) as sealed:
            promises = sealed.view.upkeep.promises
            with (tmp_path / "cache" / BLOB).open("rb") as file:
                check = await promises.checks.begin(os.fsencode(BLOB), file.fileno())
            async with trio.open_nursery() as nursery:
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
                try:
                    nursery.start_soon(promises._check_late, check)
                    await trio.testing.wait_all_tasks_blocked()
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert promises.checks.is_open(check)
            assert not promises.checks.is_open(check)

    trio.run(run)
