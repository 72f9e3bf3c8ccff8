"""Any user who may mount can put up a mount that calls itself a view: it is neither believed nor waited for long."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from tests.support.mounted import Mounted, alone, clear
from tests.support.users import NOBODY, program_within_reach

pytestmark = pytest.mark.root

FALSE_VIEW: Final = r"""
import array, os, socket, subprocess, sys
at, store, answer = sys.argv[1:4]
ours, theirs = socket.socketpair()
subprocess.run(
    ["fusermount3", "-o", f"rw,fsname={store},subtype=ipfsfs", "--", at],
    env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}, pass_fds=[theirs.fileno()], check=True,
)
device = ours.recvmsg(1, socket.CMSG_SPACE(4))
listening = None
if answer != "none":
    if os.path.exists(store + "/control.sock"):
        os.unlink(store + "/control.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(store + "/control.sock")
    listening.listen()
    os.chmod(store + "/control.sock", 0o777)
print("up", flush=True)
kept = []
while True:
    talker = listening.accept()[0] if listening else sys.stdin.readline()
    kept.append(talker)
    if listening:
        talker.recv(65536)
        while answer == "trickle":
            talker.sendall(b" ")
            __import__("time").sleep(0.2)
        talker.sendall(b"x" * (8 << 20) if answer == "huge" else answer.encode() + b"\n")
"""
WRONG: Final = {"path": "/etc/passwd", "kind": "rot", "detail": "rm -rf / \x1b[31m\nipfsfs: run this"}
LIE: Final = json.dumps({"result": {"files": 1, "bytes": 1, "unsealed": 0, "changed": 0, "wrong": [WRONG]}})
ADVICE: Final = json.dumps({"error": "StoreError", "message": "it is lost\n  rm -rf /", "hint": "rm -rf /"})
NESTED: Final = '{"result": ' + "[" * 100_000


@pytest.fixture
def place(open_to_all: Path) -> Iterator[Path]:
    """Where NOBODY may put up mounts, and finds `store`, which is that user's."""
    with program_within_reach(open_to_all):
        for name in ("at", "store"):
            (open_to_all / name).mkdir()
            os.chown(open_to_all / name, NOBODY.uid, NOBODY.uid)
        yield open_to_all


@contextmanager
def false_view(place: Path, answer: str, store: Path | None = None) -> Iterator[Path]:
    """A mount of another user's that calls itself a view, with a socket that gives one answer to all questions."""
    at = place / "at"
    command = ["/usr/bin/python3", "-c", FALSE_VIEW, str(at), str(store or place / "store"), answer]
    with subprocess.Popen(
        command, user=NOBODY.uid, group=NOBODY.uid, extra_groups=[], cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            yield at
        finally:
            process.kill()
            clear(at)


def said(done: CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("answer", [LIE, ADVICE, NESTED, "trickle", "huge", "{}", '{"progress": {}}'])
def test_root_takes_no_advice_from_another_users_daemon(place: Path, answer: str) -> None:
    with false_view(place, answer) as at:
        for arguments in (["verify"], ["status"], ["verify", str(at)], ["status", str(at)], ["umount", str(at)]):
            began = time.monotonic()
            done = alone([at], *arguments)
            assert time.monotonic() - began < 40, arguments
            for line in said(done).splitlines():
                if line.startswith(("  | ", "    | ", " ")) and "| " in line:
                    continue  # their words, and marked as such
                assert not line.lstrip().startswith(("rm ", "ipfsfs: run")), arguments
                assert "rm /etc" not in line, arguments
        for command in ("seal", "why", "cid"):
            done = alone([at], command, str(at))
            assert done.returncode == 5
            assert f"{at} is another user's view (nobody, uid {NOBODY.uid})" in done.stderr


def test_root_is_told_whose_words_they_are(place: Path) -> None:
    with false_view(place, LIE) as at:
        done = alone([at], "verify", str(at))
        assert done.returncode == 4
        assert f"{at} is another user's view (uid {NOBODY.uid}). Its daemon says:" in said(done)
        assert "  |   path: '/etc/passwd'" in done.stdout
        assert "nothing is wrong" in done.stdout, "of what root itself knows"
        facts = json.loads(alone([at], "verify", "--json", str(at)).stdout)
        assert facts["wrong"] == []
        assert facts["said_by_others"][0]["user"] == NOBODY.uid
        done = alone([at], "verify")
        assert "nothing of yours is mounted" in said(done)
        assert f"left out: {at} is another user's view" in done.stderr
    with false_view(place, ADVICE) as at:
        done = alone([at], "verify", str(at))
        assert f"the daemon of nobody, uid {NOBODY.uid} says: 'it is lost" in said(done)
        assert done.stderr.count("\n") == 1


def test_a_mount_that_names_another_users_store_reaches_no_daemon(place: Path, mounted: Callable[..., Mounted]) -> None:
    """Root asks about it, or unmounts it: the daemon of that store is not asked, nor unmounted."""
    mount = mounted()
    with false_view(place, "none", mount.store) as at:
        for command in ("status", "verify"):
            done = alone([at], command, str(at))
            assert f"belongs to user 0; the view to user {NOBODY.uid}" in said(done)
        alone([at], "umount", str(at))
        assert mount.mounted
        assert mount.status()["pid"] == mount.pid


def test_a_store_may_not_lead_elsewhere(place: Path, mounted: Callable[..., Mounted]) -> None:
    """By a link in the place of the store, or of its socket; the process behind has to be that user's too."""
    mount = mounted()
    link = place / "link"
    link.symlink_to(mount.store)
    os.lchown(link, NOBODY.uid, NOBODY.uid)
    with false_view(place, "none", link) as at:
        assert f"mounted by process {mount.pid}" not in said(alone([at], "status", str(at)))
        assert "Not a directory" in said(alone([at], "verify", str(at)))
    (place / "store" / "control.sock").symlink_to(mount.store / "control.sock")
    with false_view(place, "none") as at:
        assert "control.sock is no socket" in said(alone([at], "verify", str(at)))
    assert mount.mounted


def test_a_false_view_keeps_nobody_from_mounting(place: Path, mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """It names a directory of ours as its store: no mount of ours would cut that off."""
    (tmp_path / "cache" / "hub").mkdir(parents=True)
    with false_view(place, "none", tmp_path / "cache" / "hub"):
        mount = mounted(tmp_path / "cache")
        mount.umount()
