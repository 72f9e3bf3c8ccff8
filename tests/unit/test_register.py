"""The register of views: private, and rid of views whose stores are gone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ipfsfs.daemon import register


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """XDG_STATE_HOME, which is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_it_is_open_to_its_user_only_whatever_the_umask_of_a_daemon_is(state: Path, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        register.enter(register.Entry(tmp_path, tmp_path))
    finally:
        os.umask(previous)
    made = [state, *state.rglob("*")]
    assert len(made) == 4
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {0}


def test_a_view_is_known_until_its_store_is_gone(state: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    register.enter(register.Entry(tmp_path / "cache", store))
    assert [entry.store for entry in register.entries()] == [store]
    store.rmdir()
    assert register.entries() == []
    assert list((state / "ipfsfs" / "views").iterdir()) == []
