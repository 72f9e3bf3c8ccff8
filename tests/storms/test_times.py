"""Times that lie: of files from a clock that was wrong, and set by whoever has them.

The machine's clock itself is not turned: others use it, and a time namespace does not hold CLOCK_REALTIME. What a
turned clock leaves behind is made instead: files whose every time lies far ahead or long ago, in an unmounted ext4.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.calls import cid_of
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted

DAY_S = 86_400
SHIFTS_S = {"now": 0, "second-ahead": 1, "day-ahead": DAY_S, "years-ahead": 4000 * DAY_S, "long-ago": -9000 * DAY_S}


@pytest.fixture
def disk_of_another_time(tmp_path: Path) -> Iterator[Path]:
    """An ext4 with files whose birth, change and modification were at another time. Needs root."""
    image, at = new_ext4_image(tmp_path / "image"), tmp_path / "disk"
    with mounted_image(image, at):
        (at / "cache").mkdir()
        for name in SHIFTS_S:
            (at / "cache" / name).write_bytes(name.encode() * 100_000)
    commands = []
    for name, shift in SHIFTS_S.items():
        when = time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + shift))
        commands += [f"set_inode_field cache/{name} {field} {when}" for field in ("ctime", "mtime", "atime", "crtime")]
    subprocess.run(
        ["debugfs", "-w", "-f", "-", image], input="\n".join(commands), text=True, check=True, capture_output=True
    )
    with mounted_image(image, at):
        yield at


@pytest.mark.root
def test_files_from_another_time_are_sealed_and_changes_of_them_seen(
    disk_of_another_time: Path, mounted: Callable[..., Mounted]
) -> None:
    cache = disk_of_another_time / "cache"
    with (cache / "years-ahead").open() as file:
        assert os.fstat(file.fileno()).st_ctime > time.time() + 1000 * DAY_S, "the times were not set"
    view = mounted(cache)
    time.sleep(1.1)  # what is a second ahead has come by then
    found = view.seal()
    assert found["failed"] == 0
    before = {name: cid_of(cache / name) for name in SHIFTS_S}
    assert None not in before.values()
    for name in SHIFTS_S:
        content = (cache / name).read_bytes()
        assert content == name.encode() * 100_000
        with (cache / name).open("r+b") as file:
            file.write(b"CHANGED")
        assert (cache / name).read_bytes() == b"CHANGED" + content[7:]
        assert cid_of(cache / name) != before[name], "sealed as it was"
    time.sleep(0.2)
    assert view.seal()["failed"] == 0
    for name in SHIFTS_S:
        assert cid_of(cache / name) not in (None, before[name])
    view.remount()
    assert view.run("verify", cache).returncode == 0


@pytest.mark.parametrize("shift_s", [-9000 * DAY_S, 4000 * DAY_S])
def test_a_change_under_an_mtime_that_was_set_back_is_seen(mounted: Callable[..., Mounted], shift_s: int) -> None:
    """Beneath nobody writes here; through the view, with the same size and mtime before and after."""
    view = mounted()
    path = view.path / "file"
    then = time.time_ns() + shift_s * 10**9
    seen = set()
    for number in range(5):
        path.write_bytes(b"%d" % number * 300_000)
        os.utime(path, ns=(then, then))
        assert view.seal()["failed"] == 0
        assert path.read_bytes() == b"%d" % number * 300_000
        seen.add(cid_of(path))
    assert len(seen) == 5
    assert None not in seen
    assert view.run("verify", path).returncode == 0
