"""The adapter of ipfs_kit_py: off unless asked for, and believed in nothing. Its contract: test_contract.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.registry import open_ordered
from ipfsfs.origins.settings import KIT, OriginSettings
from tests.support.cars import raw
from tests.support.elsewhere import Elsewhere
from tests.support.kit import install_kit
from tests.support.kubo_node import CANARY
from tests.support.mounted import environment, ipfsfs

_BLOCK = b"the right bytes"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test imports the package anew."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == KIT]:
        del sys.modules[name]


def _asked() -> bytes:
    async def ask() -> bytes:
        origin = open_ordered([OriginSettings(KIT, "")])
        origin.origins[0].answer_s = 0.5  # type: ignore[attr-defined]
        with trio.fail_after(5):
            return await origin.block(raw(_BLOCK))

    return trio.run(ask)


@pytest.mark.parametrize(
    ("lie", "kind", "said"),
    [
        ("other bytes", OriginError, "gave 11 bytes that are not"),
        ("nothing", OriginError, "says that it has .*, and gives nothing"),
        ("text", OriginError, "gives nothing"),
        ("another CID", OriginError, "gave 'QmXGcUmYwbfQDhQ5QSuP8TRDFYXvPYZzWsteQNpj6YgFv1' for"),
        ("too much", OriginError, "no block is longer"),
        ("no dict", OriginError, "gave list"),
        ("no word", OriginError, "for no reason that it names"),
        ("truth by another name", OriginError, "failed for"),
        ("raises", OriginError, "RuntimeError: broken on purpose"),
        ("hangs", Unreachable, "gave no answer within"),
    ],
)
def test_a_package_that_lies_or_fails_is_an_error_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str, kind: type[OriginError], said: str
) -> None:
    monkeypatch.syspath_prepend(str(install_kit(tmp_path, lie=lie)))
    with pytest.raises(OriginError, match=said) as caught:
        _asked()
    assert type(caught.value) is kind
    assert not isinstance(caught.value, NotHeld)


def test_a_package_that_does_not_import_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install_kit(tmp_path)))
    (tmp_path / KIT / "__init__.py").write_text("  def broken")
    with pytest.raises(Unreachable, match=r"ipfs_kit_py cannot be imported: IndentationError"):
        _asked()


def test_where_it_is_not_installed_mount_says_so_and_mounts_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    done = ipfsfs("mount", tmp_path / "cache", "--ipfs-kit-py", check=False)
    assert done.returncode == 2
    assert f"ipfs_kit_py is not installed where ipfsfs is\nInstall it for {sys.executable}" in done.stderr


@pytest.mark.kubo
def test_a_view_has_files_through_it_only_where_it_is_switched_on(elsewhere: Elsewhere, tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    (tmp_path / "file").write_bytes(content)
    root = ipfsfs("publish", tmp_path / "file", "--private-too", *elsewhere.options).stdout.split()[-1]
    package = install_kit(tmp_path / "kit", api=elsewhere.node.api, authorization=f"Bearer {CANARY}")
    installed = environment(PYTHONPATH=f"{environment()['PYTHONPATH']}:{package}")
    for name, switch in (("off", ()), ("on", ("--ipfs-kit-py",))):
        cache = tmp_path / name
        cache.mkdir()
        ipfsfs("mount", cache, "--gateway", "http://127.0.0.1:1", "--patience", "1", *switch, env=installed)
        try:
            (cache / "file").symlink_to(_link(root, len(content)))
            if switch:
                assert (cache / "file").stat().st_size == len(content)
                assert (cache / "file").read_bytes() == content
            else:
                with pytest.raises(OSError, match="Input/output error"):
                    (cache / "file").read_bytes()
                assert not (package / "imported").exists()
        finally:
            ipfsfs("umount", cache)
    assert (package / "imported").exists()


def _link(root: str, size: int) -> str:
    return f"ipfs://{root}?size={size}"
