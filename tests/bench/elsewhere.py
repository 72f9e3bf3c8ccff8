"""Files by CID over a real Kubo on loopback: publishing, the cold load, attaching, and what placeholders cost.

The column of plain disk is what a line's title says it is compared with: Kubo's own commands, or a resident file. All
of this is asked for, for it needs a Kubo (`mount_scripts/build-kubo`) and takes minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench import caches, downloads, material, processes
from tests.bench.bench import At
from tests.bench.row import PLAIN, VIEW, Aim, Done, Line, Row, Unit
from tests.support.elsewhere import eventually_resident, plain_link
from tests.support.kubo_node import CANARY, SWARM, KuboNode
from tests.support.mounted import Mounted, clear

_AGAINST: Final = (PLAIN, VIEW)
_PUBLISHED: Final = 2 << 30
_MODEL: Final = material.WEIGHTS_SIZE
_TENSOR: Final = 8 << 20
_LEAF: Final = 1 << 20
_KEPT_OUT: Final = 16 << 20
"""Bytes at the end of a file that are not read: more than twice what the kernel reads ahead."""
_FILES: Final = 10_000
_MANY: Final = 1_000_000
_IN_EACH: Final = 1000
_SPARSE: Final = 20 << 30
_SAMPLED_S: Final = 0.05


@contextmanager
def _node(at: At, name: str = "node") -> Iterator[KuboNode]:
    """A node that holds nothing yet, and that others may join."""
    directory = at.bench.scratch / name
    directory.mkdir()
    node = KuboNode(directory, SWARM)
    try:
        node.start()
        yield node
    finally:
        node.close()
        shutil.rmtree(directory)


@contextmanager
def _view(at: At, node: KuboNode) -> Iterator[Mounted]:
    """An empty view that has content from a node; it and all in it is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=at.bench.scratch) as directory:
        cache, secret = Path(directory, "cache"), Path(directory, "authorization")
        cache.mkdir()
        secret.write_text(f"Bearer {CANARY}\n")
        origin = ("--kubo", node.api, "--kubo-authorization-file", str(secret))
        view = Mounted(cache, (*origin, "--gateway", node.gateway))
        try:
            yield view.mount()
        finally:
            if view.mounted:
                view.umount()
            clear(view.path)


def _publish(view: Mounted, path: Path) -> str:
    said: str = view.run("publish", path, "--private-too", *view.arguments[:4], timeout=600).stdout
    return said.split()[-1]


def publish(at: At) -> None:
    """Each time to a node that has nothing of it, of a file that lies in the page cache."""
    with _node(at) as node:
        if at.place.name == PLAIN:
            file = material.write(at.bench.scratch / "file", _PUBLISHED)
            caches.warm(file)
            began = time.perf_counter()
            node.ask("add", "-Q", str(file))
            seconds = time.perf_counter() - began
            file.unlink()
        else:
            with _view(at, node) as view:
                file = material.write(view.path / "file", _PUBLISHED)
                view.seal()
                caches.warm(file)
                began = time.perf_counter()
                _publish(view, file)
                seconds = time.perf_counter() - began
    at.record("publish", (seconds, _PUBLISHED))


def _read_whole(path: str) -> Done:
    began = time.perf_counter()
    done = 0
    with open(path, "rb", buffering=0) as file:
        while part := file.read(_LEAF):
            done += len(part)
    return time.perf_counter() - began, done


def cold_load(at: At) -> None:
    """From the first read to the last byte, of a file of which nothing is here; against a second machine's node."""
    with _published(at) as (node, root):
        if at.place.name == PLAIN:
            with _node(at, "second") as second:
                second.join(node)
                at.record("cold-load", _got(at, second, root))
        else:
            at.record("cold-load", _loaded(at, node, root))


def cold_load_node(at: At) -> None:
    """The same, against what the node that has the file gives to a command beside it."""
    with _published(at) as (node, root):
        at.record("cold-load-node", _got(at, node, root) if at.place.name == PLAIN else _loaded(at, node, root))


def _got(at: At, node: KuboNode, root: str) -> Done:
    began = time.perf_counter()
    node.ask("get", "-o", str(at.bench.scratch / "got"), root)
    seconds = time.perf_counter() - began
    (at.bench.scratch / "got").unlink()
    return seconds, _MODEL


def cold_load_hub(at: At) -> None:
    """The same, against a download by the real client from a Hub on this machine."""
    _against_hub(at, "cold-load-hub", material.WEIGHTS)


def cold_load_xet(at: At) -> None:
    """The same over Xet."""
    _against_hub(at, "cold-load-xet", material.WEIGHTS_XET)


def _against_hub(at: At, line: str, repo_id: str) -> None:
    if at.place.name == PLAIN:
        downloads.over(at, line, repo_id, _MODEL)
    else:
        with _published(at) as (node, root):
            at.record(line, _loaded(at, node, root))


@contextmanager
def _published(at: At) -> Iterator[tuple[KuboNode, str]]:
    """A node that has a model, and the model's CID."""
    with _node(at) as node:
        with _view(at, node) as there:
            root = _publish(there, material.write(there.path / "model.safetensors", _MODEL))
        yield node, root


def _loaded(at: At, node: KuboNode, root: str) -> Done:
    with _view(at, node) as view:
        file = view.path / "model.safetensors"
        view.run("attach", root, file)
        at.written_back()
        return _read_whole(str(file))


def first_tensor(at: At) -> None:
    """How much of a file has come once its first byte, and once a tensor in its middle, was read."""
    with _node(at) as node, _view(at, node) as view:
        with _view(at, node) as there:
            root = _publish(there, material.write(there.path / "model.safetensors", _MODEL))
        file = view.path / "model.safetensors"
        view.run("attach", root, file)
        with file.open("rb", buffering=0) as opened:
            opened.read(1)
            at.record("first-byte", (1.0, _here(view) / _MODEL))
            os.pread(opened.fileno(), _TENSOR, _MODEL // 2)
            at.record("first-tensor", (1.0, _here(view) / _MODEL))


def _here(view: Mounted) -> int:
    """The bytes of extents that are on disk, or on their way there."""
    return sum(found.stat().st_blocks * 512 for found in (view.store / "extents").iterdir())


def attach(at: At) -> None:
    """Attach a tree of many small files."""
    with _node(at) as node:
        with _view(at, node) as there:
            for number in range(_FILES):
                directory = there.path / "tree" / f"{number // 100:03}"
                directory.mkdir(parents=True, exist_ok=True)
                (directory / f"file{number}").write_bytes(b"%d" % number)
            root = _publish(there, there.path / "tree")
        with _view(at, node) as view:
            began = time.perf_counter()
            view.run("attach", root, view.path / "tree")
            at.record("attach", (time.perf_counter() - began, _FILES))


def placeholder_warm(at: At) -> None:
    """Read a file but for its end, of which a node has lost the last leaf: so it stays a placeholder. The kernel reads
    ahead, and must not come to that leaf: each pass would wait until the node was asked for it again."""
    with _node(at) as node, _view(at, node) as view:
        with _view(at, node) as there:
            file = material.write(there.path / "model.safetensors", _MODEL)
            root = _publish(there, file)
        last = node.ask("refs", root).split()[-1]
        if at.place.name == VIEW:
            node.ask("pin", "rm", root)
            node.ask("block", "rm", node.ask("refs", last).split()[-1] if node.ask("refs", last) else last)
        path = view.path / "model.safetensors"
        view.run("attach", root, path)
        _read_part(path, _MODEL - _KEPT_OUT)
        if at.place.name == PLAIN:
            _read_part(path, _MODEL)
            eventually_resident(view, path)
        _read_part(path, _MODEL - _KEPT_OUT)
        began = time.perf_counter()
        done = sum(_read_part(path, _MODEL - _KEPT_OUT) for _ in range(at.scale.passes))
        at.record("placeholder-warm", (time.perf_counter() - began, done))
        assert (plain_link(view, path) is not None) is (at.place.name == VIEW)


def _read_part(path: Path, size: int) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, size, _LEAF):
            os.pread(fd, min(_LEAF, size - offset), offset)
    finally:
        os.close(fd)
    return size


def many(at: At) -> None:
    """List and stat a million placeholders, as find does."""
    text = "ipfs://bafkreieq5jui4j25lacwomsqgjeswwl3y5zcdrresptwgmfylxo2depppq?size={}"
    with _node(at) as node, _view(at, node) as view:
        with _view(at, node) as there:
            (there.path / "small").write_bytes(b"small")
            root = _publish(there, there.path / "small")
        view.umount()
        for first in range(0, _MANY, _IN_EACH):
            directory = view.path / f"{first:07}"
            directory.mkdir()
            for number in range(first, first + _IN_EACH):
                os.symlink(text.format(number + 1), directory / f"file-{number:07}.bin")
        view.mount()
        view.run("attach", root, view.path / "fetched")
        (view.path / "fetched").read_bytes()  # the fetcher runs from here on, whose memory is no placeholder's
        before = _memory(view)
        for found in filter(os.DirEntry.is_dir, os.scandir(view.path)):
            for entry in os.scandir(found):
                assert entry.stat(follow_symlinks=False).st_mode & 0o170000 == 0o100000, entry.path
        after = _memory(view)
        at.record("placeholders-start", (1.0, before / 2**20))
        at.record("placeholders-each", (1.0, (after - before) / _MANY))


def stream(at: At) -> None:
    """Read a file that is larger than memory, of which nothing is here."""
    with _node(at) as node, _view(at, node) as view:
        with _view(at, node) as there:
            sparse = there.path / "model.safetensors"
            sparse.touch()
            os.truncate(sparse, _SPARSE)
            root = _publish(there, sparse)
        file = view.path / "model.safetensors"
        view.run("attach", root, file)
        most = 0
        with subprocess.Popen(["cat", file], stdout=subprocess.DEVNULL) as reading:
            while reading.poll() is None:
                most = max(most, _memory(view))
                time.sleep(_SAMPLED_S)
        assert reading.returncode == 0
        at.record("stream-memory", (1.0, most / 2**20))


def _memory(view: Mounted) -> int:
    """The memory of the daemon and of the processes beside it."""
    return sum(processes.resident_bytes(pid) for pid in (view.pid, *processes.children(view.pid)))


LARGE: Final = (
    Row(
        publish,
        (Line("publish", "publish 2 GB that is sealed (plain: `ipfs add`)", Unit.MB_PER_S, Aim(PLAIN, at_least=1.5)),),
        places=_AGAINST,
    ),
    Row(
        cold_load,
        (
            Line(
                "cold-load",
                "cold read of 500 MB by CID over one node (plain: `ipfs get` by a second node)",
                Unit.MB_PER_S,
                Aim(PLAIN, at_least=4),
            ),
        ),
        places=_AGAINST,
    ),
    Row(
        cold_load_node,
        (Line("cold-load-node", "the same (plain: `ipfs get` from the node that has it)", Unit.MB_PER_S),),
        places=_AGAINST,
    ),
    Row(
        cold_load_hub,
        (
            Line(
                "cold-load-hub",
                "the same (plain: snapshot_download over HTTP from a local Hub)",
                Unit.MB_PER_S,
                Aim(PLAIN, at_least=0.8),
            ),
        ),
        ("weights",),
        places=_AGAINST,
    ),
    Row(
        cold_load_xet,
        (
            Line(
                "cold-load-xet",
                "the same (plain: snapshot_download over Xet)",
                Unit.MB_PER_S,
                Aim(PLAIN, at_least=0.8),
            ),
        ),
        ("weights",),
        places=_AGAINST,
    ),
    Row(
        first_tensor,
        (
            Line("first-byte", "part that is here once its first byte was read", Unit.TIMES, Aim(at_most=0.1)),
            Line("first-tensor", "the same, once a tensor of 8 MiB was read", Unit.TIMES, Aim(at_most=0.1)),
        ),
        places=(VIEW,),
    ),
    Row(
        attach,
        (Line("attach", "attach of a tree of 10,000 files", Unit.SECONDS, Aim(at_most=5)),),
        places=(VIEW,),
    ),
    Row(
        placeholder_warm,
        (
            Line(
                "placeholder-warm",
                "warm read of a placeholder whose leaves are here (plain: of a resident file)",
                Unit.GB_PER_S,
                Aim(PLAIN, at_least=0.95),
            ),
        ),
        places=_AGAINST,
    ),
    Row(
        many,
        (
            Line("placeholders-start", "memory of all processes, to begin with", Unit.MIB, Aim(at_most=120)),
            Line("placeholders-each", "memory for each of 1,000,000 placeholders", Unit.BYTES, Aim(at_most=600)),
        ),
        places=(VIEW,),
        rounds_most=1,
    ),
    Row(
        stream,
        (Line("stream-memory", "memory of all processes while 20 GB stream", Unit.MIB, Aim(at_most=400)),),
        places=(VIEW,),
        rounds_most=1,
    ),
)
