"""Names of every byte. Bytes from outside are in `tests/fuzz`."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import Mounted


def test_a_mount_point_of_any_name(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """The mount table shows carriage returns and their kin as they are; one such mount must not stop any command."""
    cache = tmp_path / os.fsdecode(b"a \r\v\f\t\n\\#\xff\x1c\x85 -")
    cache.mkdir()
    view = mounted(cache)
    (cache / "file").write_bytes(b"content")
    assert view.seal()["failed"] == 0
    status = view.status()
    assert (status["mounted"], status["sealed"]) == (True, 1)
    view.umount()
    assert (cache / "file").read_bytes() == b"content"


@pytest.mark.parametrize("names", [1_000, pytest.param(50_000, marks=pytest.mark.campaign)])
@pytest.mark.timeout(1800)
def test_names_of_every_byte_by_thousands(mounted: Callable[..., Mounted], names: int) -> None:
    """All lengths up to 255 bytes; made, listed, renamed, sealed and removed through the view."""
    chance = random.Random(5)
    view = mounted()
    root = os.fsencode(view.path)
    letters = [byte for byte in range(1, 256) if byte != ord("/")]
    made: dict[bytes, bytes] = {}
    while len(made) < names:
        name = bytes(chance.choices(letters, k=chance.choice([1, 2, 8, 40, 255])))
        if name in (b".", b"..") or name in made:
            continue
        made[name] = b"content of %d" % len(made)
        with open(os.path.join(root, name), "wb") as file:
            file.write(made[name])
    assert set(os.listdir(root)) == set(made)
    for name in list(made)[::3]:
        moved = name[:254] + b"\xff"
        if moved not in made:
            os.rename(os.path.join(root, name), os.path.join(root, moved))
            made[moved] = made.pop(name)
    view.seal()
    view.remount()
    assert set(os.listdir(root)) == set(made)
    for name, content in made.items():
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == content
    sealed = view.status()["sealed"]
    for name in list(made)[::2]:
        os.unlink(os.path.join(root, name))
        del made[name]
    assert set(os.listdir(root)) == set(made)
    print(f"\nnames: {json.dumps({'names': names, 'sealed': sealed})}")
