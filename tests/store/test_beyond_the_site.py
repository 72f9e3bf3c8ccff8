"""What the ledger remembers of an upstream, and of what is published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.store.ledger import Ledger
from ipfsfs.store.tables import upstream
from ipfsfs.store.tables.published import PublishedRoot
from ipfsfs.store.tables.upstream import UpstreamRoot
from tests.support.stores import file_in


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty one."""
    with file_in(tmp_path, "ledger") as file:
        opened = Ledger.open(file)
        yield opened
        opened.close()


def _names(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


def test_of_too_many_names_those_go_that_trees_had_longest_ago(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "NAMES_MAX", 5)
    names = _names(1_200)
    ledger.upstream.add(names, 1)
    ledger.upstream.add(names[700:706], 2)
    assert ledger.upstream.known(names) == set(names)
    ledger.upstream.complete("/ipns/name", UpstreamRoot(b"root", 2))
    known = ledger.upstream.known(names)
    assert len(known) == 10
    assert known.issuperset(names[700:706])
    assert ledger.upstream.last("/ipns/name") == UpstreamRoot(b"root", 2)
    assert ledger.upstream.last("/ipns/other") is None


def test_what_is_published_is_known_until_it_is_removed(ledger: Ledger, tmp_path: Path) -> None:
    table = ledger.published
    table.note(b"tree", [b"one", b"two"], [b"node"])
    assert not table.has(b"one"), "it is not published yet"
    table.add(PublishedRoot(b"tree", b"path", True, 1))
    table.note(b"other", [b"two"], [])
    table.add(PublishedRoot(b"other", b"path", False, 2))
    assert table.has(b"one")
    assert table.is_served(b"one")
    assert (sorted(table.files(b"tree")), table.nodes(b"tree")) == ([b"one", b"two"], [b"node"])
    assert [one.root for one in table.all()] == [b"tree", b"other"]
    assert table.remove(b"tree")
    assert not table.remove(b"tree")
    assert not table.is_served(b"two")
    assert (table.has(b"one"), table.has(b"two"), table.nodes(b"tree")) == (False, True, [])


def test_the_roots_that_were_attached_last_are_kept(ledger: Ledger) -> None:
    for number in range(12):
        ledger.announced.note(b"%d" % number, number)
    ledger.announced.note(b"5", 12)
    assert ledger.announced.all() == [b"4", b"6", b"7", b"8", b"9", b"10", b"11", b"5"]
