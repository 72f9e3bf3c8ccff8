"""The Hub as the last origin of a placeholder: what no node gives is had from the file that links name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, eventually_resident
from tests.support.hub import LocalHub
from tests.support.mounted import ipfsfs
from tests.support.processes import eventually
from tests.support.repositories import downloaded

pytestmark = pytest.mark.kubo

WEIGHTS = os.urandom(14 << 20)


def test_what_no_node_has_any_more_comes_from_the_hub(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Only the leaves that are not here, each compared with its CID; what the Hub gives wrong is not served."""
    with LocalHub(tmp_path / "the-hub") as hub:
        first = elsewhere.view("--hub", "none")
        repository = downloaded(first, hub, "org/name", {"model.bin": WEIGHTS})
        first.seal()
        root = ipfsfs("publish", first.path, "--private-too", *elsewhere.options).stdout.split()[-1]
        second = elsewhere.view("--hub", hub.url, "--patience", "3")
        ipfsfs("attach", root, second.path / "tree")
        link = second.path / "tree" / repository.file("model.bin").relative_to(first.path)
        blob = link.resolve()
        with link.open("rb") as file:
            assert file.read(10) == WEIGHTS[:10]
        elsewhere.node.stop()
        try:
            hub.spoil("org/name", "model.bin", flip=13 << 20)
            second.expect_logged.append("is not wholly here, and cannot be fetched")
            with pytest.raises(OSError, match="Input/output error"):
                link.read_bytes()
            assert [one for one in hub.requests("org/name") if one.sent]
            hub.heal("org/name", "model.bin")
            eventually(lambda: _is_read(link), "it is read", 30)
            eventually_resident(second, blob)
            fetched = [one for one in hub.requests("org/name") if one.status == 206]
            assert all(one.sent <= 2 << 20 for one in fetched), "by leaves"
        finally:
            elsewhere.node.start()


def test_while_no_node_answers_the_hub_gives_the_whole(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Nothing of the tree was read yet, so that no leaves are known: the CID has to come out of the whole."""
    with LocalHub(tmp_path / "the-hub") as hub:
        first = elsewhere.view("--hub", "none")
        repository = downloaded(first, hub, "org/name", {"model.bin": WEIGHTS})
        first.seal()
        root = ipfsfs("publish", first.path, "--private-too", *elsewhere.options).stdout.split()[-1]
        second = elsewhere.view("--hub", hub.url, "--patience", "20")
        ipfsfs("attach", root, second.path / "tree")
        link = second.path / "tree" / repository.file("model.bin").relative_to(first.path)
        elsewhere.node.stop()
        try:
            assert link.read_bytes() == WEIGHTS
            assert sum(one.sent for one in hub.requests("org/name")) == len(WEIGHTS)
            eventually_resident(second, link.resolve())
        finally:
            elsewhere.node.start()


def _is_read(path: Path) -> bool:
    """Whether a file can be read; that nothing gives it was noticed once, and is found out anew behind a read."""
    try:
        return path.read_bytes() == WEIGHTS
    except OSError:
        return False
