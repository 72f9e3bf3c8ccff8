"""The control socket under attack: whatever is said on it and by whomever, the view goes on, and commands are heard."""

from __future__ import annotations

import json
import random
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status
from ipfsfs.errors import IpfsfsError
from tests.support.mounted import Mounted
from tests.support.processes import eventually

SAID: Final = {
    "nothing": b"",
    "an empty line": b"\n",
    "garbage": random.Random(1).randbytes(5000) + b"\n",
    "no end": b'{"command": "status"',
    "a long line": b"x" * 1_000_000,
    "a long line of JSON": b'{"command": "' + b"s" * 60_000 + b'"}\n',
    "nested deeply": b"[" * 60_000 + b"\n",
    "nested objects": b'{"a":' * 12_000 + b"\n",
    "a huge number": b'{"command": ' + b"9" * 60_000 + b"}\n",
    "no object": b'"status"\n',
    "no command": b"{}\n",
    "a command of another type": b'{"command": ["status"]}\n',
    "an unknown command": b'{"command": "__class__"}\n',
    "a path of another type": b'{"command": "why", "path": 7}\n',
    "a path that leaves": b'{"command": "why", "path": "../../etc/passwd"}\n',
    "an absolute path": b'{"command": "cid", "path": "/etc/passwd"}\n',
    "a path with a NUL": b'{"command": "seal", "path": "a\\u0000b"}\n',
    "a path that cannot be encoded": b'{"command": "why", "path": "\\ud800"}\n',
    "a field nobody knows": b'{"command": "why", "path": "", "other": 1}\n',
    "a field of another type": b'{"command": "umount", "lazy": "yes"}\n',
    "paths of another type": b'{"command": "verify", "paths": "all"}\n',
    "paths with anything": b'{"command": "verify", "paths": [null, {}]}\n',
    "bytes that are no UTF-8": b'{"command": "\xff"}\n',
    "NaN": b'{"command": "umount", "lazy": NaN, "command": "no"}\n',
    "two questions at once": b'{"command": "status"}\n{"command": "status"}\n',
}


@contextmanager
def conversation(mount: Mounted) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(str(mount.store / "control.sock"))
        yield sock


def reset(sock: socket.socket) -> None:
    """Hang up with what the other side said unread: it gets ECONNRESET or EPIPE."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def heard(mount: Mounted) -> bool:
    return ask(mount.store, status.Question(), patience_s=20).pid == mount.pid


def test_whatever_is_said_the_view_goes_on(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    for what, said in SAID.items():
        with conversation(mount) as sock:
            answered = b""
            try:
                sock.sendall(said)
                sock.shutdown(socket.SHUT_WR)
                while more := sock.recv(65_536):
                    answered += more
            except OSError:
                pass  # it hung up on us
            for line in answered.splitlines():
                answer = json.loads(line)
                assert "result" in answer or "error" in answer, what
                assert "bug" not in answer.get("message", ""), what
        assert heard(mount), what
    assert mount.mounted


def test_who_asked_may_hang_up_at_any_moment(mounted: Callable[..., Mounted]) -> None:
    """As a user does with Ctrl-C: after the question, amid the progress, before the answer."""
    mount = mounted()
    for number in range(60):
        (mount.path / f"{number}").write_bytes(random.Random(number).randbytes(300_000))
    for command in ("status", "seal", "verify", "cid", "why", "no-such-command"):
        for wait_s in (0, 0.01, 0.1):
            for hang_up in (socket.socket.close, reset):
                with conversation(mount) as sock:
                    sock.sendall(json.dumps({"command": command}).encode() + b"\n")
                    time.sleep(wait_s)
                    hang_up(sock)
        assert heard(mount), command
    verify = subprocess.Popen([sys.executable, "-m", "ipfsfs", "verify", mount.path], stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    verify.kill()
    verify.wait()
    assert heard(mount)
    assert ask(mount.store, seal.Question()).failed == 0


def test_those_who_say_nothing_keep_nobody_from_being_heard(mounted: Callable[..., Mounted]) -> None:
    """Half-open conversations are ended after a while, and nobody needs more than that patience."""
    mount = mounted()
    with ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(conversation(mount)).sendall(b"{")
        eventually(lambda: _try(mount), "a command is heard", 60)
        assert (mount.path / "x").write_bytes(b"x") == 1
    assert heard(mount)


def test_a_thousand_conversations_while_descriptors_are_few(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    resource.prlimit(mount.pid, resource.RLIMIT_NOFILE, (96, 96))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    waiting = []
    try:
        for _ in range(1000):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            waiting.append(sock)
            try:
                sock.connect(str(mount.store / "control.sock"))
                sock.send(b"{")
            except BlockingIOError:
                pass  # the queue is full
        (mount.path / "made").write_bytes(b"x" * 100_000)
        assert (mount.path / "made").read_bytes() == b"x" * 100_000
    finally:
        for sock in waiting:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    mount.expect_logged += ["a command could not be listened to"]
    eventually(lambda: _try(mount), "a command is heard", 60)


@pytest.mark.root
def test_another_user_is_not_even_let_in(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    """Neither by the modes of the store, nor where those were opened up by hand."""
    (open_to_all / "cache").mkdir()
    mount = mounted(open_to_all / "cache")
    speak = """if True:
        import os, socket, sys
        os.setgid(65534)
        os.setuid(65534)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(9)
        try:
            sock.connect(sys.argv[1])
        except PermissionError:
            sys.exit(13)
        try:
            sock.sendall(b'{"command": "umount", "lazy": true}\\n')
            sys.exit(7 if sock.recv(100) else 0)
        except ConnectionError:
            sys.exit(0)
        """
    talk = [sys.executable, "-c", speak, str(mount.store / "control.sock")]
    assert subprocess.run(talk, check=False).returncode == 13
    mode = mount.store.stat().st_mode
    try:
        mount.store.chmod(0o755)
        (mount.store / "control.sock").chmod(0o666)
        said = subprocess.run(talk, check=False, stderr=subprocess.PIPE)
        assert said.returncode == 0, f"they should have been hung up on, without an answer: {said}"
    finally:
        mount.store.chmod(mode & 0o7777)
        (mount.store / "control.sock").chmod(0o600)
    assert mount.mounted
    assert heard(mount)


def _try(mount: Mounted) -> status.Answer | None:
    try:
        return ask(mount.store, status.Question(), patience_s=5)
    except IpfsfsError:
        return None
