"""The first origin is this machine: what a sealed file holds is copied, compared, and not fetched."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.beneath import Beneath
from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.mounted import Mounted, ipfsfs
from tests.support.weights import gguf, safetensors, torch_zip

pytestmark = [pytest.mark.kubo, pytest.mark.filesystem]

LEAF: Final = 1 << 20
CONTENT: Final = os.urandom(20 * LEAF)
NEWER: Final = CONTENT[: 7 * LEAF] + os.urandom(LEAF) + CONTENT[8 * LEAF :]
_COPIED: Final = re.compile(r"(\w+): (\d+) of (\d+) bytes were copied from files of this machine")


def _read(view: Mounted, path: Path, content: bytes) -> int:
    """Read a placeholder, and how many of its bytes came from an origin."""
    root = os.getxattr(path, "ipfs.cid").decode()
    assert path.read_bytes() == content
    eventually_resident(view, path)
    assert path.read_bytes() == content
    ((copied, size),) = {match.group(2, 3) for match in _COPIED.finditer(view.log()) if match[1] == root}
    return int(size) - int(copied)


def test_a_new_version_costs_its_changed_leaves(elsewhere: Elsewhere) -> None:
    root, view = elsewhere.publish({"model": NEWER}), elsewhere.view()
    (view.path / "older").write_bytes(CONTENT)
    view.seal()
    ipfsfs("attach", root, view.path / "newer")
    assert _read(view, view.path / "newer" / "model", NEWER) == LEAF
    assert (view.path / "older").read_bytes() == CONTENT


def _tensors(seed: int) -> dict[str, bytes]:
    random_ = random.Random(seed)
    return {f"layers.{i}.weight": random_.randbytes(1_500_000) for i in range(8)}


BASE: Final = _tensors(1)
VARIANTS: Final = {
    "copy": (safetensors(BASE), 0.0),
    "a layer changed": (safetensors({**BASE, "layers.3.weight": _tensors(2)["layers.3.weight"]}), 0.13),
    "other metadata": (safetensors(BASE, {"format": "pt", "note": "x" * 1_000}), 0.002),
    "a small tensor added": (safetensors({"norm": b"12" * 500, **BASE}), 0.002),
    "a shard": (safetensors(dict(list(BASE.items())[:4])), 0.002),
    "GGUF": (gguf(BASE), 0.002),
    "torch zip": (torch_zip(BASE), 0.002),
}


def test_each_variant_of_weights_costs_what_is_new_in_it(elsewhere: Elsewhere) -> None:
    root = elsewhere.publish({name: data for name, (data, _) in VARIANTS.items()})
    view = elsewhere.view()
    (view.path / "base").write_bytes(safetensors(BASE))
    view.seal()
    ipfsfs("attach", root, view.path / "variants")
    for name, (data, share) in VARIANTS.items():
        assert _read(view, view.path / "variants" / name, data) <= share * len(data), name


def test_without_any_origin_the_same_content_is_had_under_another_name(elsewhere: Elsewhere) -> None:
    view = elsewhere.view()
    view.umount()
    view.arguments = ()
    view.mount()
    (view.path / "below").mkdir()
    (view.path / "below" / "one").write_bytes(CONTENT)
    (view.path / "small").write_bytes(b"small")
    view.seal()
    os.rename(view.path / "below", view.path / "moved")
    (view.path / "moved" / "one").rename(view.path / "moved" / "renamed")
    view.seal()
    for name, content in (("moved/renamed", CONTENT), ("small", b"small")):
        copy = view.path / f"copy of {Path(name).name}"
        os.symlink(f"ipfs://{os.getxattr(view.path / name, 'ipfs.cid').decode()}?size={len(content)}", copy)
        assert _read(view, copy, content) == 0
        with copy.open("r+b") as file:
            file.write(b"MINE")
        assert (view.path / name).read_bytes() == content


def test_what_was_changed_beneath_is_fetched(elsewhere: Elsewhere, tmp_path: Path) -> None:
    root, view = elsewhere.publish({"model": NEWER}), elsewhere.view()
    (view.path / "older").write_bytes(CONTENT)
    view.umount()
    plain = os.open(view.path, os.O_PATH)
    try:
        view.mount()
        view.seal()
        Beneath(view, plain).write("older", b"other", 3 * LEAF)
        ipfsfs("attach", root, view.path / "newer")
        assert _read(view, view.path / "newer" / "model", NEWER) == 2 * LEAF
    finally:
        os.close(plain)


def test_a_secret_or_scratch_is_no_source(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT[:LEAF]})
    (view.path / "token").write_bytes(CONTENT[:LEAF])
    (view.path / "x.lock").write_bytes(CONTENT[:LEAF])
    view.seal()
    assert (at / "file").read_bytes() == CONTENT[:LEAF]
    eventually_resident(view, at / "file")
    assert "were copied" not in view.log()
    assert plain_link(view, at / "file") is None
