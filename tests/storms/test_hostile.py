"""Bytes from outside, made up by atheris for long or by hypothesis for a moment, and names of every byte."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipfsfs.unixfs import cid, dagpb
from tests.storms.targets import TARGETS
from tests.support import weights
from tests.support.mounted import TREE, Mounted

SECONDS = int(os.environ.get("IPFSFS_STORM_SECONDS", "60"))
"""How long atheris fuzzes each target."""
MEMORY_MIB = 2048

_TENSORS = {"a": b"\1\2" * 50, "b": b"\3\4" * 60}
_LINK = dagpb.encode_link(cid.raw_cid(bytes(32)), b"name", 12)
SEEDS: dict[str, list[bytes]] = {
    "tensor": [weights.safetensors(_TENSORS), weights.gguf(_TENSORS), weights.torch_zip(_TENSORS)],
    "dag": [
        dagpb.encode_node([_LINK, _LINK], dagpb.encode_unixfs(dagpb.Unixfs(dagpb.Type.FILE, None, 24, [12, 12]))),
        dagpb.encode_unixfs(dagpb.Unixfs(dagpb.Type.SYMLINK, b"target")),
    ],
    "pipe": [struct.pack(">II", 9, 3) + b'{"id": 1}abc', struct.pack(">II", 200_000, 0) + b"[" * 200_000],
    "question": [b'{"command": "seal", "path": "x"}\n', b"[]\n", b"[" * 5000 + b"\n"],
    "mountinfo": [b"tmp/a b\\040\tc\n"],
}


@pytest.mark.parametrize("target", TARGETS)
def test_made_up_bytes_do_no_harm(target: str) -> None:
    seeds = SEEDS[target]

    @given(
        data=st.binary(max_size=400) | st.sampled_from(seeds), where=st.integers(0, 400), patch=st.binary(max_size=8)
    )
    @settings(max_examples=300, deadline=None, database=None)
    @example(data=b"", where=0, patch=b"")
    @example(data=seeds[-1], where=0, patch=b"")
    def once(data: bytes, where: int, patch: bytes) -> None:
        TARGETS[target](data[:where] + patch + data[where + len(patch) :])

    once()


@pytest.fixture(scope="session")
def atheris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has atheris, beside all the packages of this one."""
    root = tmp_path_factory.mktemp("atheris")
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([base, "-m", "venv", root], check=True)
    subprocess.run([root / "bin" / "pip", "install", "-q", "atheris"], check=True, timeout=300)
    return root / "bin" / "python"


@pytest.mark.campaign
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(SECONDS + 600)
def test_atheris_finds_no_bytes_that_do_harm(atheris: Path, tmp_path: Path, target: str) -> None:
    """`IPFSFS_STORM_SECONDS` for each target; at most 2 GiB of memory, and 5 s for any one input."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, data in enumerate(SEEDS[target]):
        (seeds / str(number)).write_bytes(data)
    options = [f"-max_total_time={SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", "-max_len=65536", "-timeout=30"]
    done = subprocess.run(
        [atheris, "-m", "tests.storms.fuzz", target, seeds, *options, f"-artifact_prefix={tmp_path}/"],
        cwd=TREE,
        env={**os.environ, "PYTHONPATH": f"{TREE}:{sysconfig.get_paths()['purelib']}"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    told = [line for line in done.stderr.splitlines() if "cov:" in line or line.startswith("Done")]
    print(f"\natheris: {json.dumps({'target': target, 'seconds': SECONDS, 'said': told[-2:]})}")


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
