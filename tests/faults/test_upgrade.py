"""A store that another version made: older ones are migrated or refused with words, newer ones refused. Nothing in it
is touched then, and the directory stays plain."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status
from ipfsfs.store.layout import FORMAT
from tests.support.mounted import Mounted, ipfsfs


def unmounted(mounted: Callable[..., Mounted]) -> Mounted:
    """A view with a sealed file, unmounted."""
    mount = mounted()
    (mount.path / "file").write_bytes(b"x" * 100_000)
    ask(mount.store, seal.Question())
    mount.umount()
    return mount


def contents(store: Path) -> dict[str, str]:
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.name not in ("daemon.log", "lock")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def amend(path: Path, version: int) -> int:
    """Change a database's version; returns what it was."""
    with sqlite3.connect(path) as connection:
        (before,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    return int(before)


REFUSED: Final = {
    f"{FORMAT + 1}\n": "newer version",
    "0\n": "no longer known",
    "one\n": "holds no version",
    "": "holds no version",
}
"""What may stand in a store's `format`, and what is said then."""


def test_a_store_of_another_format_is_refused_and_left_alone(mounted: Callable[..., Mounted]) -> None:
    mount = unmounted(mounted)
    for text, words in REFUSED.items():
        (mount.store / "format").write_text(text)
        before = contents(mount.store)
        for command in ("mount", "fsck", "verify") if text.startswith(str(FORMAT + 1)) else ("mount",):
            done = ipfsfs(command, mount.path, check=False)
            assert done.returncode == 6, command
            assert words in done.stderr, command
            assert "Traceback" not in done.stderr
        assert contents(mount.store) == before
        assert not mount.mounted
    assert (mount.path / "file").read_bytes() == b"x" * 100_000
    (mount.store / "format").write_text(f"{FORMAT}\n")
    mount.mount()


def test_an_index_of_another_version_is_made_anew(mounted: Callable[..., Mounted]) -> None:
    mount = unmounted(mounted)
    mount.expect_logged += ["the index was made anew: it has format 99"]
    amend(mount.store / "index", 99)
    mount.mount()
    assert ask(mount.store, seal.Question()).failed == 0
    assert ask(mount.store, status.Question()).degraded == ""
    assert ask(mount.store, status.Question()).sealed == 1


def test_a_ledger_of_another_version_is_refused_and_left_alone(mounted: Callable[..., Mounted]) -> None:
    mount = unmounted(mounted)
    mount.expect_logged += ["the ledger .* has format 99"]
    known = amend(mount.store / "ledger", 99)
    before = contents(mount.store)
    refused = ipfsfs("mount", mount.path, check=False)
    assert refused.returncode == 6
    assert "format 99" in refused.stderr
    assert contents(mount.store) == before
    assert not mount.mounted
    amend(mount.store / "ledger", known)
    mount.mount()
