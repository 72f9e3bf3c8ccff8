"""SIGKILL inside what the daemon does by itself: mounting, unmounting, sealing, a promise check, a quarantine.

The moment is drawn anew each time from the time the step takes, so that many repetitions hit every part of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import TREE, UNASKED_END, Mounted, clear, environment, ipfsfs
from tests.support.processes import beside, eventually

TIMES = int(os.environ.get("IPFSFS_STEP_KILLS", "200"))
GOOD = random.Random(7).randbytes(3_000_000)
PROMISE = hashlib.sha256(GOOD).hexdigest()
BAD = GOOD[:1_000_000] + bytes([GOOD[1_000_000] ^ 1]) + GOOD[1_000_001:]


def _daemons(path: Path) -> list[int]:
    return [pid for pid in beside("daemon") if str(path) in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")]


def _kill(path: Path) -> None:
    """SIGKILL whatever daemon serves, or is about to serve, a path; it must be plain within 2 seconds."""
    eventually(lambda: not _shot(path), "the daemon is gone", 5)
    eventually(lambda: _is_plain(path), "the path is plain again", 2)


def _shot(path: Path) -> list[int]:
    """The daemons that were there, one that was only just started included."""
    found = _daemons(path)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _is_plain(path: Path) -> bool:
    try:
        return not os.path.ismount(path) and bool(os.listdir(path))
    except OSError:
        return False  # a view without a daemon


def _words(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ipfsfs", *map(str, arguments)]


def _command(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _words(*arguments),
        env=environment(),
        cwd=TREE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _fill(path: Path) -> dict[str, bytes]:
    files = {f"file{number}": random.Random(number).randbytes(200_000) for number in range(12)}
    for name, data in files.items():
        (path / name).write_bytes(data)
    return files


def _intact(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        assert (path / name).read_bytes() == data, name


def in_mounting(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While `mount` is at it."""
    command = _command("mount", mount.path)
    time.sleep(chance.uniform(0.1, 0.9))
    _kill(mount.path)
    command.wait(60)
    clear(mount.path)  # a mount that was only just made by the kernel, before any guardian
    _intact(mount.path, files)


def in_unmounting(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While `umount` is at it."""
    mount.mount()
    (mount.path / "file0").write_bytes(files["file0"])
    command = _command("umount", mount.path)
    time.sleep(chance.uniform(0.1, 0.6))
    _kill(mount.path)
    command.wait(60)
    _intact(mount.path, files)


def in_sealing(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While everything is being sealed again."""
    for name, data in files.items():
        (mount.path / name).write_bytes(data)
    mount.mount()
    command = _command("seal", mount.path)
    time.sleep(chance.uniform(0.1, 0.7))
    _kill(mount.path)
    command.wait(60)
    _intact(mount.path, files)


def in_a_promise_check(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While a download takes the name that says what it must be."""
    _promise(mount, chance, GOOD)


def in_a_quarantine(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While a download that is not what its name says is being put aside."""
    _promise(mount, chance, BAD)


def in_pinning(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While a tree is being pinned, or unpinned; what counts as pinned can be had without its names."""
    mount.mount()
    tree = mount.path / "pinned"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name, data in files.items():
        (tree / name).write_bytes(data)
    root = ipfsfs("cid", tree).stdout.strip()
    listed = {pin["cid"]: pin["complete"] for pin in mount.pins()}
    command = _command("pin", "rm" if listed.get(root) else "add", tree)
    time.sleep(chance.uniform(0.1, 0.9))
    _kill(mount.path)
    command.wait(60)
    _intact(mount.path, files)
    _intact(tree, files)
    mount.mount()
    if any(pin["complete"] for pin in mount.pins()):
        shutil.rmtree(tree)
        ipfsfs("attach", root, tree)
    _intact(tree, files)
    mount.umount()


def in_pinning_by_cid(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While a tree that was imported is being pinned by its CID, or unpinned, and the store is collected and emptied
    meanwhile; what counts as pinned can be had with no origin."""
    mount.mount()
    again, car = mount.path / "again", mount.path.with_name("tree.car")
    if not car.exists():
        ipfsfs("export", mount.path / "file0", car)
    root = ipfsfs("import", car, "--view", mount.path).stdout.split()[-1]
    listed = {pin["cid"]: pin["complete"] for pin in mount.pins()}
    command = _command("pin", "rm" if listed.get(root) else "add", root, "--view", mount.path)
    others = [_command("collect", "--view", mount.path), _command("evict", "--to", "0", mount.path)]
    time.sleep(chance.uniform(0.1, 0.9))
    _kill(mount.path)
    for one in (command, *others):
        one.wait(60)
    _intact(mount.path, files)
    mount.mount()
    if any(pin["complete"] and pin["cid"] == root for pin in mount.pins()):
        again.unlink(missing_ok=True)
        ipfsfs("attach", root, again)
        assert again.read_bytes() == files["file0"]
    mount.umount()


# By a descriptor of the view's directory: a rename that comes too late must not succeed on plain disk.
_RENAME = """
import os, sys
at = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
os.rename(sys.argv[2], sys.argv[3], src_dir_fd=at, dst_dir_fd=at)
"""


def _promise(mount: Mounted, chance: random.Random, data: bytes) -> None:
    mount.mount()
    blobs = mount.path / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    part, blob = blobs / f"{PROMISE}.incomplete", blobs / PROMISE
    for path in (part, blob):
        path.unlink(missing_ok=True)
    part.write_bytes(data)
    renaming = subprocess.Popen(
        [sys.executable, "-c", _RENAME, blobs, part.name, blob.name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert renaming.stdout is not None
    renaming.stdout.readline()
    time.sleep(chance.uniform(0.0, 0.06))
    _kill(mount.path)
    renaming.communicate(timeout=30)
    if blob.exists():
        assert blob.read_bytes() == GOOD
    else:
        kept = [path for path in (mount.store / "quarantine").iterdir() if path.suffix != ".json"]
        found = [path for path in (part, *kept) if path.exists() and path.read_bytes() == data]
        assert found, "neither under the old name, nor the new one, nor in quarantine"


def in_a_healing(mount: Mounted, chance: random.Random, files: dict[str, bytes]) -> None:
    """While a blob that was written over in place is being put back."""
    mount.mount()
    blobs = mount.path / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob = blobs / PROMISE
    blob.unlink(missing_ok=True)
    blob.with_suffix(".incomplete").write_bytes(GOOD)
    blob.with_suffix(".incomplete").rename(blob)
    subprocess.run(_words("seal", blob), env=environment(), check=True, stdout=subprocess.DEVNULL)
    with blob.open("r+b") as file:
        file.seek(1_000_000)
        file.write(BAD[1_000_000:1_000_001])
    subprocess.run(_words("seal", blob), env=environment(), check=True, stdout=subprocess.DEVNULL)
    command = _command("restore", blob)
    extents = mount.store / "extents"
    while command.poll() is None and not any(name.endswith(".healing") for name in os.listdir(extents)):
        time.sleep(0.0005)
    time.sleep(chance.uniform(0.0, 0.25))
    _kill(mount.path)
    command.wait(60)
    assert blob.read_bytes() in (GOOD, BAD), "neither the damaged file nor the healed one"
    assert os.listdir(blobs) == [blob.name], "nothing is left beside it"
    kept = [path.read_bytes() for path in (mount.store / "quarantine").iterdir() if path.suffix != ".json"]
    assert GOOD in (blob.read_bytes(), *kept)
    assert BAD in (blob.read_bytes(), *kept)


STEPS = [
    in_mounting,
    in_unmounting,
    in_sealing,
    in_pinning,
    in_pinning_by_cid,
    in_a_promise_check,
    in_a_quarantine,
    in_a_healing,
]


def _repeat(step: Callable[..., None], mount: Mounted, times: int, seed: int) -> None:
    chance = random.Random(seed)
    mount.expect_logged += ["not what the name promises", "the same bytes came again", "the sealer was ended"]
    mount.expect_logged += ["broken promise"]
    mount.expect_logged.append(UNASKED_END)
    mount.umount()
    files = _fill(mount.path)
    for _ in range(times):
        step(mount, chance, files)
    mount.mount()
    _intact(mount.path, files)
    print(f"{step.__name__}: {times} kills, nothing lost, nothing wrong")


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_inside_a_step_loses_nothing(step: Callable[..., None], mounted: Callable[..., Mounted]) -> None:
    """Twice each; the campaign below repeats each 200 times."""
    _repeat(step, mounted(), 2, seed=3)


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("step", STEPS)
def test_two_hundred_kills_inside_a_step(step: Callable[..., None], mounted: Callable[..., Mounted]) -> None:
    """IPFSFS_STEP_KILLS says how many."""
    _repeat(step, mounted(), TIMES, seed=int(time.time()))
