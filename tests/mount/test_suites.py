"""Other people's test suites against a mounted view. Campaigns: docs/contributing.md says how each is run and had."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.mounted import Mounted
from tests.support.native import CHECKED, NATIVE, counted
from tests.support.stuck import dump

pytestmark = [pytest.mark.campaign, pytest.mark.root, pytest.mark.timeout(0)]

PJDFSTEST: Final = """
[features]
posix_fallocate = {{}}
rename_ctime = {{}}
utimensat = {{}}
utime_now = {{}}
[settings]
naptime = 0.02
allow_remount = false
[dummy_auth]
entries = [["{0}", "{1}"], ["daemon", "daemon"]]
"""
FSX: Final = """
flen = 1048576
[opsize]
max = 131072
[weights]
close_open = 1
mapread = 10
mapwrite = 10
read = 10
write = 10
truncate = 5
invalidate = 2
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 0
punch_hole = 0
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
"""
STRESSORS: Final = [
    "access", "acl", "chattr", "chdir", "chmod", "chown", "chroot", "copy-file", "dentry", "dir",
    "dirdeep", "dirmany", "fallocate", "fcntl", "fd-abuse", "fiemap", "file-ioctl", "filename",
    "flock", "fpunch", "fstat", "getdent", "handle", "hdd", "hsearch", "iomix", "io", "lease", "link",
    "locka", "lockf", "lockofd", "lockmix", "metamix", "mknod", "mmapfiles", "msync", "open", "readahead",
    "rename", "revio", "seek", "sendfile", "splice", "symlink", "sync-file", "touch", "truncate", "unlink", "utime",
    "verity", "xattr",
]  # fmt: skip
"""stress-ng's that touch files, all but fsize, which wants fallocate. What a build of it lacks, it says."""


SIZES: Final = {
    "copy-file": ("--copy-file-bytes", "128m"),
    "fallocate": ("--fallocate-bytes", "64m"),
    "hdd": ("--hdd-bytes", "64m"),
    "iomix": ("--iomix-bytes", "64m"),
    "readahead": ("--readahead-bytes", "64m"),
    "revio": ("--revio-bytes", "16m"),
    "seek": ("--seek-size", "16m"),
}


def tool(name: str, how: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:{Path.home() / '.cargo' / 'bin'}")
    if found is None:
        pytest.fail(f"{name} is not installed: {how}")
    return found


@pytest.mark.parametrize("way", [CHECKED, NATIVE], ids=["checked", "native"])
def test_pjdfstest(open_to_all: Path, mounted: Callable[..., Mounted], way: tuple[str, ...]) -> None:
    """A thousand questions of POSIX, asked as several users; all must come out as they do on plain disk."""
    program = tool("pjdfstest", "cargo install --locked pjdfstest@0.2.2")
    nobody = pwd.getpwnam("nobody")
    group = subprocess.run(["id", "-gn", "nobody"], capture_output=True, text=True, check=True).stdout.strip()
    (open_to_all / "settings.toml").write_text(PJDFSTEST.format(nobody.pw_name, group))
    results = []
    for place in ("plain", "view"):
        at = open_to_all / place
        at.mkdir()
        if place == "view":
            mounted(at, "--allow-other", *way)
        done = subprocess.run(
            [program, "-c", open_to_all / "settings.toml", "-p", at], capture_output=True, text=True, check=False
        )
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        results.append(said)
        print(place, re.findall(r"Summary: .*", said))
    failed = [set(re.findall(r"^(\S+::\S+)\s+FAILED", said, re.MULTILINE)) for said in results]
    assert "Summary: 0 failed" in results[1] or failed[1] <= failed[0], results[1][-3_000:]


@pytest.mark.parametrize("seed", range(4))
def test_fsx(mounted: Callable[..., Mounted], tmp_path: Path, seed: int) -> None:
    """250,000 reads, writes, truncations and copies of one file, by call and by mapping, checked against memory. Every
    other time the file is native: another handle keeps it so, for what is opened to be written is not by itself."""
    way = NATIVE if seed % 2 else CHECKED
    program = tool("fsx", "cargo install --locked fsx@0.3.2")
    mount = mounted(None, *way)
    path = mount.path / "file"
    path.write_bytes(b"sealed")
    mount.seal()
    (tmp_path / "fsx.toml").write_text(FSX)
    operations = os.environ.get("IPFSFS_FSX_OPERATIONS", "250000")
    options = ["-q", "-f", str(tmp_path / "fsx.toml"), "-S", str(seed + 1), "-N", operations, "-P", str(tmp_path)]
    with path.open("rb"):
        done = subprocess.run([program, *options, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
    writes = counted(mount, "ipfsfs_writes_total")
    assert writes == 1 if way is NATIVE else writes > 1, "the daemon is asked to write what the file begins with"


@pytest.mark.parametrize("stressor", STRESSORS)
def test_stress_ng(mounted: Callable[..., Mounted], stressor: str) -> None:
    """One of stress-ng's stressors, two processes for some seconds, checking what it reads; it must end."""
    program = tool("stress-ng", "apt-get install stress-ng")
    mount = mounted()
    command = [
        program, f"--{stressor}", "2", "--timeout", "5", "--temp-path", mount.path, "--verify", "--metrics-brief",
        *SIZES.get(stressor, ()),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{stressor} does not end\n{dump(mount.pid)}")
    said = done.stdout + done.stderr
    if "unrecognized option" in said or "not implemented" in said:
        pytest.skip(f"this stress-ng has no {stressor}")
    assert done.returncode in (0, 3), said  # 3: the stressor found nothing it could do here
    assert "fail:" not in said, said
    assert mount.status()["degraded"] == ""
