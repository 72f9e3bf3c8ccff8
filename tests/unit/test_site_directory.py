"""Who has what: announcements that end, and bounds that hold."""

from __future__ import annotations

from typing import Any

from ipfsfs.origins.peer_messages import Announced, Found
from ipfsfs.unixfs import cid
from ipfsfs.workers.server.directory import HOLDERS_OF_ONE, LASTS_S, Directory

SHA256 = bytes(range(32))
ROOT = cid.raw_cid(SHA256)
BLOB = Announced(SHA256, ROOT, 10, True)
A, B, C = "a" * 32, "b" * 32, "c" * 32


def _found(directory: Directory, machine: str = C, now: float = 1.0, **how: Any) -> Found | None:
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
    directory.gone(SHA256, "10.0.0.9:1", "10.0.0.3")
    assert _found(directory) is not None
    assert _found(directory, without=["10.0.0.1:1"]) is None
    directory.gone(SHA256, "10.0.0.1:1", "10.0.0.1")
    assert _found(directory) is None
    assert len(directory) == 0
    directory.gone(SHA256, "10.0.0.1:1", "10.0.0.1")


def test_one_machine_cannot_say_of_all_holders_that_they_are_gone() -> None:
    """Its word counts for itself, and for others that of two."""
    directory = Directory()
    directory.announce(A, "10.0.0.1:1", [BLOB], 0.0)
    for _ in range(5):
        directory.gone(SHA256, "10.0.0.1:1", "10.0.0.3")
    assert _found(directory, host="10.0.0.3") is None
    assert _found(directory, host="10.0.0.4") is not None
    directory.announce(A, "10.0.0.1:1", [BLOB], 1.0)
    assert _found(directory, host="10.0.0.3") is not None, "it is there again"
    for host in ("10.0.0.3", "10.0.0.4"):
        directory.gone(SHA256, "10.0.0.1:1", host)
    assert _found(directory, host="10.0.0.5") is None


def _roots_of(host: str, count: int) -> list[tuple[str, str, Announced]]:
    """Machines at one host that each say another root of the blob."""
    roots = [cid.raw_cid(number.to_bytes(32, "big")) for number in range(count)]
    return [
        (f"{number:032x}", f"{host}:{number + 1}", Announced(SHA256, root, 10, True))
        for number, root in enumerate(roots)
    ]


def _root(found: Found | None) -> bytes:
    assert found is not None
    return found.root


def test_a_host_has_one_vote_however_many_ports_it_announces() -> None:
    directory = Directory()
    other = cid.dag_pb_cid(bytes(32))
    directory.announce(A, "10.0.0.1:1", [BLOB], 0.0)
    for port in range(1, 40):
        directory.announce(f"{port:032x}", f"10.0.0.9:{port}", [Announced(SHA256, other, 10, True)], 1.0)
    assert _root(_found(directory)) == ROOT, "as many hosts have each: the one that was announced first"
    directory.announce(B, "10.0.0.2:1", [BLOB], 2.0)
    assert _root(_found(directory)) == ROOT
    directory.announce(A, "10.0.0.1:1", [BLOB], 3.0)
    directory.gone(SHA256, "10.0.0.2:1", "10.0.0.2")
    assert _root(_found(directory)) == ROOT, "to announce it again makes it no newer"


def test_a_host_crowds_out_no_other_root_of_a_blob() -> None:
    directory = Directory()
    for machine, holder, blob in _roots_of("10.0.0.9", 10):
        directory.announce(machine, holder, [blob], 0.0)
    assert directory.announce(A, "10.0.0.1:1", [BLOB], 1.0) == 1
    assert directory.announce(B, "10.0.0.2:1", [BLOB], 1.0) == 1
    for machine, holder, blob in _roots_of("10.0.0.9", 10):
        directory.announce(machine, holder, [blob], 2.0)
    assert _found(directory) == Found(ROOT, 10, ("10.0.0.1:1", "10.0.0.2:1"), True)


def test_a_host_crowds_out_no_other_holder_of_a_blob() -> None:
    """Neither of those that are known, nor of the few that are told."""
    directory = Directory()
    directory.announce(A, "10.0.0.1:1", [BLOB], 0.0)
    for port in range(1, 200):
        directory.announce(f"{port:032x}", f"10.0.0.9:{port}", [BLOB], float(port))
    found = _found(directory)
    assert found is not None
    assert found.holders[:2] == ("10.0.0.9:199", "10.0.0.1:1")
    assert len(found.holders) == 8


def test_a_host_that_announces_too_much_loses_its_own() -> None:
    directory = Directory(blobs_most=100, entries_most=150)
    for host in range(1, 5):
        own = [Announced(bytes([host, number]) * 16, ROOT, 1, True) for number in range(10)]
        directory.announce(f"{host:032x}", f"10.0.0.{host}:1", own, 0.0)
    many = [Announced(number.to_bytes(32, "big"), ROOT, 1, True) for number in range(1_000)]
    for port in range(1, 4):
        directory.announce("f" * 32, f"10.0.0.9:{port}", many, 1.0)
    for host in range(1, 5):
        for number in range(10):
            assert directory.find(bytes([host, number]) * 16, C, 2.0, only_public=False, loopback=True), host
    assert len(directory) <= 100


def test_of_too_many_those_go_first_that_have_ended() -> None:
    directory = Directory(blobs_most=100)
    for host, now in ((1, 0.0), (2, LASTS_S + 1)):
        own = [Announced(bytes([host, number]) * 16, ROOT, 1, True) for number in range(60)]
        directory.announce(f"{host:032x}", f"10.0.0.{host}:1", own, now)
    assert len(directory) == 60


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
