"""Messages about names that a user was given by others, or copied from elsewhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import trio

from ipfsfs.cli import keepers
from ipfsfs.errors import UsageError
from ipfsfs.exchange import naming

ESCAPES = "\x1b[31m\nipfsfs: all is well"


def test_a_name_with_escapes_is_told_in_one_line() -> None:
    name = naming.parse(f"/ipns/k51abc/{ESCAPES}")
    assert name is not None
    with pytest.raises(UsageError) as caught:
        trio.run(naming.root, name, [])
    assert str(caught.value).isprintable()


def test_what_is_to_be_written_of_a_service_works_when_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        keepers.service(ESCAPES)
    assert "\x1b" not in str(caught.value) + caught.value.hint
    assert set(tomllib.loads(caught.value.hint.partition("\n")[2])["service"]["NAME"]) == {"url", "token_file"}
