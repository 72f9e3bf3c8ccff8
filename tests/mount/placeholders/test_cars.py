"""CARs into and out of a view's store (S39)."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipfsfs.unixfs import car
from ipfsfs.unixfs.cid import from_text, to_text
from tests.support.cars import blocks_of, car_with, raw
from tests.support.elsewhere import eventually_resident, write
from tests.support.kubo_node import KuboNode
from tests.support.mounted import TREE, Mounted, environment, ipfsfs
from tests.support.processes import eventually

BIG = os.urandom(3_500_000)
CONTENT: dict[str, bytes | str] = {"big": BIG, "below/small": b"small", "below/empty": b"", "link": "below/small"}
IMPORT = (sys.executable, "-m", "ipfsfs", "import", "-", "--view")


def blocks_in(view: Mounted) -> set[str]:
    """The names of the blocks in the store of a view."""
    return set(os.listdir(view.store / "blocks"))


@pytest.mark.kubo
def test_a_car_goes_to_kubo_and_one_of_kubos_comes_back(kubo: KuboNode, alone: Mounted, tmp_path: Path) -> None:
    view = alone
    tree = tmp_path / "tree"
    write(tree, CONTENT)
    (tree / "token").write_text("canary-of-a-secret")
    ours, again, theirs = (tmp_path / name for name in ("ours.car", "again.car", "theirs.car"))
    done = ipfsfs("export", tree, ours)
    root = done.stdout.strip()
    assert root == ipfsfs("cid", tree).stdout.strip()
    assert f"{tmp_path}/no/x.car: No such file" in ipfsfs("export", tree, tmp_path / "no/x.car", check=False).stderr
    assert "Left out, as secrets or scratch: 1 file" in done.stderr
    assert b"canary" not in ours.read_bytes()
    kubo.ask("dag", "import", str(ours))
    assert kubo.ask("cat", f"/ipfs/{root}/below/small") == "small"

    theirs.write_bytes(kubo.ask_for_bytes("dag", "export", root))
    attached = view.path / "hub" / "attached"
    done = ipfsfs("import", theirs, "--to", attached)
    assert done.stdout.splitlines()[-1] == root
    ipfsfs("export", root, again, "--view", view.path)
    assert again.read_bytes() == ours.read_bytes(), "a CAR depends on its root alone"
    assert (attached / "big").read_bytes() == BIG, "with no origin"
    assert (attached / "link").read_bytes() == b"small"
    eventually_resident(view, attached / "big")


def test_what_was_imported_is_read_listed_and_attached_with_no_origin(alone: Mounted, tmp_path: Path) -> None:
    view = alone
    root, blocks = blocks_of(BIG)
    (tmp_path / "one.car").write_bytes(car_with(from_text(root), blocks))
    first = json.loads(ipfsfs("import", tmp_path / "one.car", "--view", view.path, "--json").stdout)
    assert (first["roots"], first["new_blocks"]) == ([root], len(blocks))
    again = json.loads(ipfsfs("import", tmp_path / "one.car", "--view", view.path, "--json").stdout)
    assert (again["blocks"], again["new_blocks"]) == (len(blocks), 0), "what is here already is not taken again"
    assert ipfsfs("exists", root, "--view", view.path).returncode == 0
    ipfsfs("attach", root, view.path / "file")
    left = ipfsfs("umount", view.path).stdout
    assert "3.5 MB of 3.5 MB missing" in left, "it is in the store, and not on plain disk"
    view.mount()
    assert (view.path / "file").read_bytes() == BIG
    eventually_resident(view, view.path / "file")


def broken(name: str) -> bytes:
    """A CAR that must not be taken."""
    root, blocks = blocks_of(BIG)
    whole = car_with(from_text(root), blocks)
    other = b"not what its CID says"
    match name:
        case "cut off":
            return whole[:-100]
        case "a block is missing":
            return car_with(from_text(root), blocks[:-1])
        case "other bytes":
            return car_with(from_text(root), [*blocks[:-1], (blocks[-1][0], other)])
        case "no root":
            return car.header([]) + car.frame(raw(other), other)
        case "no CAR":
            return os.urandom(100_000)
        case "a root of another kind":
            digest = hashlib.sha256(b"\xa0").digest()
            dag_cbor = b"\x01\x71\x12\x20" + digest
            return car.header([dag_cbor]) + car.frame(dag_cbor, b"\xa0")
        case _:
            return b""


BROKEN = ("cut off", "a block is missing", "other bytes", "no root", "no CAR", "a root of another kind", "empty")


def test_h37_a_car_that_is_not_whole_is_refused_and_leaves_nothing(alone: Mounted, tmp_path: Path) -> None:
    view = alone
    for name in BROKEN:
        path = tmp_path / "broken.car"
        path.write_bytes(broken(name))
        done = ipfsfs("import", path, "--to", view.path / "file", check=False)
        assert done.returncode == 1, (name, done.stderr)
        if name == "a block is missing":
            assert to_text(blocks_of(BIG)[1][-1][0]) in done.stderr, "the block is named"
        assert blocks_in(view) == set(), name
        assert not (view.path / "file").exists(), name


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_import_that_was_interrupted_goes_on_or_is_collected(
    how: signal.Signals, alone: Mounted, tmp_path: Path
) -> None:
    """Its CAR comes through a pipe, on which nothing comes any more when it is interrupted."""
    view = alone
    root, blocks = blocks_of(BIG)
    car_bytes = car_with(from_text(root), blocks)
    for then in ("goes on", "is collected"):
        importing = subprocess.Popen(
            [*IMPORT, str(view.path)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), cwd=TREE
        )
        assert importing.stdin is not None
        importing.stdin.write(car_bytes[: len(car_bytes) // 2])
        importing.stdin.flush()
        eventually(lambda: len(blocks_in(view)) > 1, "blocks come")
        importing.send_signal(how)
        assert importing.wait(10) != 0
        importing.stdin.close()
        if then == "goes on":
            (tmp_path / "one.car").write_bytes(car_bytes)
            done = ipfsfs("import", tmp_path / "one.car", "--view", view.path, "--json")
            assert json.loads(done.stdout)["new_blocks"] < len(blocks)
            assert ipfsfs("exists", root, "--view", view.path).returncode == 0
        ipfsfs("collect", "--view", view.path)
        assert blocks_in(view) == set()


def test_h37_an_endless_car_is_bounded_in_memory(alone: Mounted, tmp_path: Path) -> None:
    """One frame that is said to be large and never ends, and a header that never does."""
    view = alone
    for endless in (car.header([raw(b"x")]) + b"\xff\xff\xff\x7f", b"\xff\xff\x7f" + b"\xa2"):
        writing = subprocess.Popen(
            [sys.executable, "-c", "import sys\nwhile True: sys.stdout.buffer.write(b'x' * 1000000)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writing.stdout is not None
        octal = "".join("\\" + format(byte, "03o") for byte in endless)
        shell = f"(printf '{octal}'; cat) | \"$@\""
        done = subprocess.run(
            ["prlimit", "--data=400000000", "sh", "-c", shell, "sh", *IMPORT, str(view.path)],
            stdin=writing.stdout,
            env=environment(),
            cwd=TREE,
            capture_output=True,
            timeout=60,
            check=False,
        )
        writing.kill()
        writing.wait()
        writing.stdout.close()
        assert done.returncode == 1, done.stderr
        assert b"a header or frame of" in done.stderr
