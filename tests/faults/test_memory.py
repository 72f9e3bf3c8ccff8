"""400 MiB a process, whatever comes: trees, listings and answers that are made to fill memory, or never end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio

from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.dagpb import Link, Type, Unixfs
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.memory import MOST
from tests.support.block_server import block_server
from tests.support.dags import directory_node, node, raw
from tests.support.hostile_server import Behaviour, Stream, hostile_server, repeat
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.processes import beside, eventually, parent

_MOST_MIB: Final = (MOST >> 20) + 60
"""What a process may have had at any moment: it is looked at fifty times a second."""
_BOMB: Final = b'{"format_version": 1, "files": {"x": [' + b"[]," * 10_000_000 + b"[]]}}"
"""JSON of 30 MB from which Python makes some 700 MB."""


@dataclass(slots=True, frozen=True)
class Ended:
    """A command that has ended: what it said, and the most memory that it had (MiB)."""

    code: int
    said: str
    mib: int


_ALONE: Final = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([process.returncode, usage.ru_maxrss >> 10]))
"""
"""Runs a command and says its exit code and the most memory it had. A process of its own, which is small: a command
begins with the peak of the process that it takes the place of, and that of these tests may be large."""


def _run(directory: Path, *words: str | Path, **variables: str) -> Ended:
    with (directory / "said").open("w+") as said:
        command = [sys.executable, "-m", "ipfsfs", *map(str, words)]
        done = subprocess.run(
            [sys.executable, "-c", _ALONE, *command],
            env=environment(**variables), stdout=subprocess.PIPE, stderr=said, check=True,
        )  # fmt: skip
        code, mib = json.loads(done.stdout)
        said.seek(0)
        return Ended(code, said.read(), mib)


def _trees() -> Iterator[tuple[str, bytes, dict[bytes, bytes]]]:
    """Trees of a few blocks that would be millions of names: what each is, its root and its blocks."""
    made: dict[bytes, bytes] = {}
    inner = directory_node(made, *(Link(raw(b"a"), b"%04d" % name, 1) for name in range(2_000)))
    yield "a million names", directory_node(made, *(Link(inner, b"%04d" % name, 1) for name in range(499))), made
    made = {}
    long = directory_node(made, *(Link(raw(b"a"), b"%03d" % name * 80, 1) for name in range(1_000)))
    yield "long paths", directory_node(made, *(Link(long, b"%03d" % name * 80, 1) for name in range(900))), made
    made = {}
    deep = directory_node(made)
    for _ in range(10_000):
        deep = directory_node(made, Link(deep, b"d", 1))
    yield "10,000 levels", deep, made
    made, size = {}, 1
    file = node(made, [], Unixfs(Type.FILE, b"a", 1))
    for _ in range(22):
        file, size = (
            node(made, [Link(file, b"", 1)] * 2, Unixfs(Type.FILE, filesize=2 * size, blocksizes=[size] * 2)),
            2 * size,
        )
    yield "millions of leaves", file, made
    made, wide = {}, b"a" * (1 << 20)
    files = [
        node(made, [], Unixfs(Type.FILE, wide + b"%d" % name, len(wide) + len(b"%d" % name))) for name in range(60)
    ]
    yield (
        "files in large blocks",
        directory_node(made, *(Link(one, b"%d" % at, 1) for at, one in enumerate(files))),
        made,
    )


_ATTACHED: Final = {"files in large blocks": 0}
"""What can be had; all else is refused, and says so."""


@pytest.mark.timeout(900)
def test_h48_commands_on_trees_that_are_made_to_fill_memory(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    with block_server() as server:
        (tmp_path / "view").mkdir()
        view = mounted(tmp_path / "view", "--gateway", server.url, "--hub", "none")
        for number, (what, root, blocks) in enumerate(_trees()):
            server.blocks |= {cid.to_text(one): block for one, block in blocks.items()}
            server.blocks[cid.to_text(raw(b"a"))] = b"a"
            text = cid.to_text(root)
            for words in (("attach", text, view.path / f"tree{number}"), ("cat", text, "--view", view.path)):
                done = _run(tmp_path, *words)
                print(what, words[0], done.mib, done.code, done.said[:100].strip(), flush=True)
                assert done.mib < _MOST_MIB, (what, words, done)
                codes = (_ATTACHED.get(what, 1),) if words[0] == "attach" else (1, 2)
                assert done.code in codes, (what, words, done)
                assert "Traceback" not in done.said
                assert done.code == 0 or done.said.startswith("ipfsfs: "), (what, words, done)
            if not (view.path / f"tree{number}").exists():
                assert f"tree{number}" not in os.listdir(view.path), "nothing is left behind"
        view.umount()


@contextmanager
def _serving(behaviour: Behaviour) -> Iterator[str]:
    """The URL of a server in a thread of its own."""
    url: list[str] = []
    started, over = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        async with hostile_server(behaviour) as server:
            url.append(server.url)
            token.append(trio.lowlevel.current_trio_token())
            started.set()
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    started.wait(10)
    try:
        yield url[0]
    finally:
        token[0].run_sync_soon(over.set)
        thread.join()


async def _endless_body(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await repeat(stream, b"10000\r\n" + bytes(65_536) + b"\r\n")


async def _endless_header(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    await repeat(stream, b"X: " + b"x" * 65_536)


async def _huge_length(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n")
    await repeat(stream, bytes(65_536))


async def _stalls(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    await trio.sleep_forever()


@pytest.mark.parametrize("behaviour", [_endless_body, _endless_header, _huge_length, _stalls])
def test_h48_a_fetcher_that_is_sent_too_much_takes_little(
    behaviour: Callable[[Stream, int], Awaitable[None]], mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for number in range(40):
        link = reference.text(Reference(cid.dag_pb_cid(bytes(31) + bytes([number])), 3_000_000))
        (cache / f"file{number}").symlink_to(link.decode())
    with _serving(behaviour) as url:
        view = mounted(cache, "--gateway", url, "--hub", "none", "--patience", "4")
        view.expect_logged.append(r"file\d+: ")
        readers = [threading.Thread(target=_read_in_vain, args=(cache / f"file{number}",)) for number in range(40)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert not any(reader.is_alive() for reader in readers)
        (fetcher,) = [pid for pid in beside("workers.fetcher.program") if parent(pid) == view.pid]
        most = {name: _peak_mib(pid) for name, pid in (("fetcher", fetcher), ("daemon", view.pid))}
        print(behaviour.__name__, most)
        assert most["fetcher"] < MOST >> 20
        assert most["daemon"] < 80
        view.umount()


def _read_in_vain(path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()


def _peak_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def test_h48_a_fetcher_that_needs_too_much_is_ended_and_another_goes_on(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """A listing of a repository, which any program can have written."""
    commit, digest = "a" * 40, "b" * 64
    repository = tmp_path / "cache" / "hub" / "models--org--name"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "model.bin").symlink_to(f"../../blobs/{digest}")
    (repository / "blobs").mkdir()
    (repository / "trees").mkdir()
    (repository / "trees" / f"{commit}.json").write_bytes(_BOMB)
    with block_server() as server:
        (tmp_path / "cache" / "small").symlink_to(server.add(b"small" * 10))
        view = mounted(tmp_path / "cache", "--gateway", server.url, "--hub", server.url)
        view.expect_logged += ["the fetcher was ended by SIGKILL", "from the fetcher: what was read needs more memory"]
        done = ipfsfs("restore", view.path, "--json", check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        eventually(lambda: "from the fetcher: what was read needs more memory" in view.log(), "the log says why")
        assert (view.path / "small").read_bytes() == b"small" * 10
        assert _peak_mib(view.pid) < 200
        assert json.loads(done.stdout or "{}") is not None
        view.umount()


def test_h48_publishing_bears_a_hub_that_answers_with_all_that_it_may(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """What is made of its JSON is bounded by what is read of it."""
    at = tmp_path / "hub" / "models--org--name"
    (at / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (at / "snapshots" / ("a" * 40) / "file").write_bytes(b"content")
    answer = _BOMB[:38] + b"[]," * 3_900_000 + b"[]]}}"

    async def behaviour(stream: Stream, number: int) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
        await stream.send_all(answer)

    with _serving(behaviour) as url:
        done = _run(tmp_path, "publish", at, "--kubo", url, HF_ENDPOINT=url)
    assert done.code == 2
    assert "cannot be found out" in done.said
    assert done.mib < _MOST_MIB
