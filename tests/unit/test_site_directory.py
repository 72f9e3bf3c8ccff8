"""Who has what: announcements that end, and bounds that hold."""

from __future__ import annotations

from ipfsfs.origins.peer_messages import Announced, Found
from ipfsfs.unixfs import cid
from ipfsfs.workers.server.directory import HOLDERS_OF_ONE, LASTS_S, Directory

SHA256 = bytes(range(32))
ROOT = cid.raw_cid(SHA256)
BLOB = Announced(SHA256, ROOT, 10, True)
A, B, C = "a" * 32, "b" * 32, "c" * 32


def _found(directory: Directory, machine: str = C, now: float = 1.0, **how: bool) -> Found | None:
    return directory.find(SHA256, machine, now, **{"only_public": False, "loopback": True, **how})


def test_what_was_announced_is_told_to_all_but_who_has_it() -> None:
    directory = Directory()
    assert directory.announce(A, "10.0.0.1:1", [BLOB], 0.0) == 1
    assert _found(directory) == Found(ROOT, 10, ("10.0.0.1:1",), True)
    assert _found(directory, A) is None
    directory.announce(B, "10.0.0.2:1", [BLOB], 0.5)
    assert _found(directory) == Found(ROOT, 10, ("10.0.0.2:1", "10.0.0.1:1"), True)
    assert _found(directory, A) == Found(ROOT, 10, ("10.0.0.2:1",), True)


def test_an_announcement_ends_unless_it_is_repeated() -> None:
    directory = Directory()
    directory.announce(A, "10.0.0.1:1", [BLOB], 0.0)
    directory.announce(A, "10.0.0.1:1", [BLOB], 600.0)
    assert _found(directory, now=LASTS_S + 599) is not None
    assert _found(directory, now=LASTS_S + 601) is None
    assert len(directory) == 0


def test_what_is_not_public_is_told_to_the_site_alone() -> None:
    directory = Directory()
    directory.announce(A, "10.0.0.1:1", [Announced(SHA256, ROOT, 10, False)], 0.0)
    assert _found(directory, only_public=True) is None
    assert _found(directory) == Found(ROOT, 10, ("10.0.0.1:1",), False)
    # One who says that it is public is told of as the only holder.
    directory.announce(B, "10.0.0.2:1", [BLOB], 0.0)
    assert _found(directory, only_public=True) == Found(ROOT, 10, ("10.0.0.2:1",), True)


def test_addresses_of_this_machine_alone_are_told_to_it_alone() -> None:
    directory = Directory()
    directory.announce(A, "127.0.0.1:1", [BLOB], 0.0)
    assert _found(directory, loopback=False) is None
    assert _found(directory, loopback=True) is not None


def test_the_root_that_most_have_is_told_and_a_machine_has_one() -> None:
    directory = Directory()
    other = cid.dag_pb_cid(bytes(32))
    directory.announce(A, "10.0.0.1:1", [Announced(SHA256, other, 10, True)], 0.0)
    directory.announce(B, "10.0.0.2:1", [BLOB], 0.0)
    directory.announce("d" * 32, "10.0.0.3:1", [BLOB], 0.0)
    found = _found(directory)
    assert found is not None
    assert found.root == ROOT
    directory.announce(B, "10.0.0.2:1", [Announced(SHA256, other, 10, True)], 0.0)
    found = _found(directory)
    assert found is not None
    assert found == Found(other, 10, ("10.0.0.1:1", "10.0.0.2:1"), True)


def test_a_holder_that_is_gone_is_told_of_no_more() -> None:
    directory = Directory()
    directory.announce(A, "10.0.0.1:1", [BLOB], 0.0)
    directory.gone(SHA256, "10.0.0.9:1")
    assert _found(directory) is not None
    directory.gone(SHA256, "10.0.0.1:1")
    assert _found(directory) is None
    assert len(directory) == 0
    directory.gone(SHA256, "10.0.0.1:1")


def test_bounds_hold_and_the_oldest_goes() -> None:
    directory = Directory(blobs_most=100, entries_most=150)
    for number in range(1_000):
        directory.announce(A, "10.0.0.1:1", [Announced(number.to_bytes(32, "big"), ROOT, 1, True)], float(number))
    assert len(directory) == 100
    assert directory.find((899).to_bytes(32, "big"), C, 1.0, only_public=False, loopback=True) is None
    assert directory.find((900).to_bytes(32, "big"), C, 1.0, only_public=False, loopback=True) is not None
    for number in range(500):
        directory.announce(f"{number:032x}", f"10.0.1.{number}:1", [BLOB], 0.0)
    assert directory._entries == sum(len(holders) for roots in directory._blobs.values() for holders in roots.values())
    assert directory._entries <= 150
    assert len(directory._blobs[SHA256][ROOT, 10]) == HOLDERS_OF_ONE
    # Whatever one machine says of it, a blob has few roots.
    for number in range(50):
        root = cid.raw_cid(number.to_bytes(32, "big"))
        directory.announce(f"{number:032x}", f"10.0.2.{number}:1", [Announced(SHA256, root, 1, True)], 0.0)
    assert len(directory._blobs[SHA256]) <= 4
