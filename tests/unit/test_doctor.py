"""What `ipfsfs doctor` tells, on machines that have and lack things."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.cli import native_reads
from tests.support.filesystems import mounted_tmpfs, new_image
from tests.support.mounted import Mounted
from tests.support.processes import stopped

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from ipfsfs.cli.doctor import doctor; doctor()"]


def run(tmp_path: Path, *arguments: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs doctor with a home of its own; `before`: shell commands in a mount namespace of its own, as root."""
    command = [*COMMAND, *arguments]
    if before:
        command = ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh", *command]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **environ}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def findings(tmp_path: Path, **options: str) -> dict[str, dict[str, Any]]:
    told = json.loads(run(tmp_path, "--json", **options).stdout)
    return {finding["name"]: finding for finding in told["findings"]}


def test_the_exit_code_says_what_the_json_says(tmp_path: Path) -> None:
    done = run(tmp_path, "--json")
    told = json.loads(done.stdout)
    assert told["ok"] == all(finding["ok"] is not False for finding in told["findings"])
    assert done.returncode == (0 if told["ok"] else 1)
    assert all(finding["fix"] for finding in told["findings"] if finding["ok"] is False)


def test_every_finding_is_shown_to_people_too(tmp_path: Path) -> None:
    shown = run(tmp_path).stdout
    for name, finding in findings(tmp_path).items():
        assert name in shown
        assert finding["fix"] in shown


def test_it_tells_why_mounting_would_be_skipped(tmp_path: Path) -> None:
    assert "STORAGE_FORCE_LOCAL" in findings(tmp_path, STORAGE_FORCE_LOCAL="yes", CI="1")["switches"]["detail"]
    assert "BUILDKITE" in findings(tmp_path, BUILDKITE="true")["switches"]["detail"]
    assert findings(tmp_path)["switches"]["ok"] is True


@pytest.mark.root
def test_it_tells_where_a_token_is_that_is_in_a_shared_cache(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    view = mounted(tmp_path / "shared", "--team", "5001")
    inside = findings(tmp_path, HF_HOME=str(view.path))["token"]
    assert inside["ok"] is None
    assert "HF_TOKEN_PATH" in inside["fix"]
    for own in ("~/token", "$HOME/token", str(tmp_path / "token")):
        assert findings(tmp_path, HF_HOME=str(view.path), HF_TOKEN_PATH=own)["token"]["ok"] is True
    assert "token" not in findings(tmp_path)


def test_a_switch_without_meaning_is_called_so(tmp_path: Path) -> None:
    assert "no meaning" in findings(tmp_path, TRANSFORMERS_PATCH_DISABLE="1")["TRANSFORMERS_PATCH_DISABLE"]["detail"]
    assert "TRANSFORMERS_PATCH_DISABLE" not in findings(tmp_path)


def test_redirected_caches_are_listed(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "torch").mkdir(parents=True)
    told = findings(tmp_path, TORCH_HOME="/data/torch", OVMS_MODELS="/data/ov", OVMS_LEVEL="debug")["other caches"]
    assert told["detail"].split("\n") == [
        "TORCH_HOME=/data/torch",
        "OVMS_MODELS=/data/ov",
        str(tmp_path / ".cache" / "torch"),
    ]


def test_the_cache_is_where_the_clients_have_it(tmp_path: Path) -> None:
    assert findings(tmp_path)["cache"]["detail"].startswith(f"{tmp_path}/.cache/huggingface: ")
    assert findings(tmp_path, XDG_CACHE_HOME=f"{tmp_path}/x")["cache"]["detail"].startswith(
        f"{tmp_path}/x/huggingface: "
    )
    assert findings(tmp_path, HF_HOME=f"{tmp_path}/hf")["cache"]["detail"].startswith(f"{tmp_path}/hf: ")


def test_packages_are_those_the_project_depends_on(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = findings(tmp_path)["packages"]
    assert told["ok"] is True
    assert [each.split()[0] for each in told["detail"].split(", ")] == [
        need.split(">=")[0] for need in project["dependencies"]
    ]


def test_a_name_cannot_command_the_terminal(tmp_path: Path) -> None:
    shown = run(tmp_path, HF_HOME=f"{tmp_path}/\x1b[31mred").stdout
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown


@pytest.mark.root
def test_a_machine_without_fuse_fails_and_learns_what_to_do(tmp_path: Path) -> None:
    without = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3"
    done = run(tmp_path, before=without)
    assert done.returncode == 1
    told = findings(tmp_path, before=without)["/dev/fuse"]
    assert told["ok"] is False
    assert "modprobe fuse" in told["fix"]
    assert told["fix"] in done.stdout


@pytest.mark.root
def test_the_filesystem_of_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    mounted = f"mount -t tmpfs -o size=10m none {tmp_path}/hf"
    told = findings(tmp_path, before=mounted, HF_HOME=f"{tmp_path}/hf")["cache"]
    assert f"on tmpfs at {tmp_path}/hf" in told["detail"]
    assert "gone after a restart" in told["detail"]
    assert told["ok"] is None
    assert "little space" in told["fix"]


@pytest.mark.root
def test_a_trial_mount_is_made_and_leaves_nothing(tmp_path: Path) -> None:
    told = findings(tmp_path, TMPDIR=str(tmp_path))["trial mount"]
    assert told["ok"] is True
    assert "FUSE protocol 7." in told["detail"]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_a_cache_in_a_view_whose_daemon_hangs_is_not_waited_for(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    (tmp_path / "hf").mkdir()
    mount = mounted(tmp_path / "hf")
    with stopped([mount.pid]):
        told = findings(tmp_path, HF_HOME=f"{tmp_path}/hf/below")["cache"]
    assert told["ok"] is False
    assert "does not answer" in told["detail"]
    assert f"ipfsfs umount --lazy {mount.path}" in told["fix"]


def _first_message(flags: int, more_flags: int) -> bytes:
    """INIT, as a kernel sends it (linux/fuse.h)."""
    return bytes(40) + struct.pack("=IIIII", 7, 45, 0, flags, more_flags) + bytes(44)


@pytest.mark.parametrize(
    ("first", "is_possible"),
    [
        (_first_message(1 << 30, 1 << 5), True),
        (_first_message(1 << 30, 0), False),
        (_first_message(0, 1 << 5), False),
        (_first_message(1 << 30, 1 << 5)[:56], False),
    ],
    ids=["6.18", "built without", "no second flags", "an old kernel"],
)
@pytest.mark.root
def test_whether_native_reads_are_possible_here(first: bytes, is_possible: bool) -> None:
    told = native_reads.possible(first)
    assert (told.ok is True) == is_possible
    assert is_possible or ("CONFIG_FUSE_PASSTHROUGH" in told.fix and "nothing to do" in told.fix)


@pytest.mark.root
@pytest.mark.parametrize(
    ("become", "why"),
    [
        (["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups"], "root alone"),
        (["unshare", "--user", "--map-root-user"], "user namespace"),
    ],
    ids=["an ordinary user", "root of a container"],
)
def test_who_cannot_have_native_reads_is_told_why_and_that_nothing_need_be_done(become: list[str], why: str) -> None:
    first = _first_message(1 << 30, 1 << 5)
    asked = f"""
from pathlib import Path
from ipfsfs.cli.native_reads import possible, who_checks
print(possible({first!r}), who_checks([Path("/dev/shm")]))
"""
    done = subprocess.run([*become, sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert why in done.stdout
    assert "nothing to do" in done.stdout
    assert "tmpfs does not check" in done.stdout
    assert "--check native" not in done.stdout, "which would do nothing"


@pytest.mark.root
def test_it_tells_who_checks_what_is_read_of_the_cache(tmp_path: Path) -> None:
    """By what it lies on, be a view mounted over it or not."""
    (tmp_path / "hf").mkdir()
    image = new_image(tmp_path / "image", "btrfs", 256)
    for before, says in (
        (f"mount -t tmpfs none {tmp_path}/hf", "tmpfs does not check"),
        (f"mount -o loop {image} {tmp_path}/hf", "btrfs checks what it reads"),
        (f"mount -o loop,nodatasum {image} {tmp_path}/hf", "btrfs is mounted with nodatasum"),
    ):
        told = findings(tmp_path, before=before, HF_HOME=f"{tmp_path}/hf")
        assert f"{tmp_path}/hf: " in told["reads"]["detail"]
        assert says in told["reads"]["detail"]
        assert told["reads"]["ok"] is True
        assert "checks what" in says or "--check native" in told["reads"]["fix"]
        assert told["native reads"]["detail"]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    with mounted_tmpfs(tmp_path, "size=10m") as at:
        yield at


@pytest.mark.root
def test_who_checks_is_told_of_what_lies_beneath_a_view(memory: Path, mounted: Callable[..., Mounted]) -> None:
    (memory / "hf").mkdir()
    view = mounted(memory / "hf", "--store", str(memory / "store"))
    assert f"{view.path}: the daemon checks each read, for tmpfs" in findings(memory)["reads"]["detail"]
