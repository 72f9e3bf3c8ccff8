"""Where the Hub has a file, and what is missing: from links and listings that may be anyone's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.exchange import whereabouts
from ipfsfs.exchange.whereabouts import Missing
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.workers.fetcher.hub_jobs import hub_files

COMMIT, OTHER = "a" * 40, "b" * 40
DIGEST, GIT, XET = "c" * 64, "d" * 40, "e" * 64
REPOSITORY = "hub/models--org--name"
BLOB = f"{REPOSITORY}/blobs/{DIGEST}"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    os.chdir(tmp_path)
    for directory in ("blobs", f"snapshots/{COMMIT}/deep/er", f"snapshots/{OTHER}", "trees"):
        (tmp_path / REPOSITORY / directory).mkdir(parents=True)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    os.chdir("/")


def link(path: str, target: str) -> None:
    os.symlink(target, f"{REPOSITORY}/{path}")


def test_links_of_snapshots_say_where_a_blob_is(root: int) -> None:
    link(f"snapshots/{COMMIT}/model.bin", f"../../blobs/{DIGEST}")
    link(f"snapshots/{COMMIT}/deep/er/ä.bin", f"../../../../blobs/{DIGEST}")
    link(f"snapshots/{OTHER}/config.json", f"../../blobs/{GIT}")
    Path(REPOSITORY, "trees", f"{OTHER}.json").write_text("any text")
    found = whereabouts.whereabouts(root, BLOB.encode())
    assert set(found.files) == {
        HubFile("models", "org/name", COMMIT, "model.bin", with_token=True),
        HubFile("models", "org/name", COMMIT, "deep/er/ä.bin", with_token=True),
    }
    assert [(one.file.revision, one.text) for one in found.listings] == [(OTHER, b"any text")]
    assert whereabouts.whereabouts(root, b"hub/elsewhere/" + DIGEST.encode()).files == []
    assert whereabouts.whereabouts(root, f"{REPOSITORY}/blobs/notes".encode()).listings == []


def test_h48_many_long_listings_are_not_all_in_memory(root: int) -> None:
    for number in range(12):
        with Path(REPOSITORY, "trees", f"{number:040x}.json").open("wb") as listing:
            listing.truncate(10 << 20)
    listings = whereabouts.whereabouts(root, BLOB.encode()).listings
    assert [one.file.revision for one in listings] == [f"{number:040x}" for number in range(3)]


@pytest.mark.root
def test_h41_listings_of_others_do_not_crowd_out_the_users_own(root: int) -> None:
    trees = Path(REPOSITORY, "trees")
    for number in range(10):
        (trees / f"{number:040x}.json").write_text("of another")
        os.chown(trees / f"{number:040x}.json", 1234, 1234)
    (trees / f"{COMMIT}.json").write_text("my own")
    listings = whereabouts.whereabouts(root, BLOB.encode()).listings
    assert (listings[0].text, listings[0].file.with_token) == (b"my own", True)
    assert len(listings) == 8


def test_of_many_listings_those_that_changed_last_are_read(root: int) -> None:
    trees = Path(REPOSITORY, "trees")
    for number in range(10):
        listing = trees / f"{number:040x}.json"
        listing.write_text("old")
        os.utime(listing, (number, number))
    (trees / f"{COMMIT}.json").write_text("new")
    found = whereabouts.listings_of(root, REPOSITORY.encode())
    assert found[0][1].text == b"new"
    assert [path[-6:-5] for path, _ in found[1:]] == [b"9", b"8", b"7", b"6", b"5", b"4", b"3"]


@pytest.mark.root
def test_h41_a_link_of_another_user_is_asked_for_without_the_token(root: int) -> None:
    link(f"snapshots/{COMMIT}/model.bin", f"../../blobs/{DIGEST}")
    os.chown(f"{REPOSITORY}/snapshots/{COMMIT}/model.bin", 1234, 1234, follow_symlinks=False)
    (found,) = whereabouts.whereabouts(root, BLOB.encode()).files
    assert not found.with_token


def test_what_links_lead_to_and_is_not_there_is_missing(root: int) -> None:
    link(f"snapshots/{COMMIT}/model.bin", f"../../blobs/{DIGEST}")
    link(f"snapshots/{COMMIT}/config.json", f"../../blobs/{GIT}")
    link(f"snapshots/{COMMIT}/token", "../../../../token")
    link(f"snapshots/{COMMIT}/absolute", f"/{BLOB}")
    link(f"snapshots/{OTHER}/of-another", f"../../../models--o--other/blobs/{DIGEST}")
    link(f"snapshots/{OTHER}/named", "../../blobs/not-a-digest")
    Path(REPOSITORY, "blobs", GIT).write_text("{}")
    lost = [Missing(BLOB.encode(), DIGEST)]
    for path in ("", "hub", REPOSITORY, f"{REPOSITORY}/snapshots/{COMMIT}/model.bin", BLOB):
        assert whereabouts.missing(root, path.encode()) == lost, path
    assert whereabouts.missing(root, f"{REPOSITORY}/snapshots/{OTHER}".encode()) == []
    os.symlink("ipfs://" + "b" * 59 + "?size=5", BLOB)
    assert whereabouts.missing(root, b"") == [], "a link is there, be it that of a placeholder"


def test_h49_a_blob_behind_a_link_into_the_shared_store(root: int) -> None:
    """What is missing is the file there; where it is on the Hub, the repositories that link to it say."""
    shared = f"hub/blobs/ee/{XET}"
    link(f"snapshots/{COMMIT}/model.bin", f"../../blobs/{DIGEST}")
    os.symlink(f"../../blobs/ee/{XET}", BLOB)
    assert whereabouts.missing(root, b"hub") == [Missing(shared.encode(), DIGEST)]
    (found,) = whereabouts.whereabouts(root, shared.encode()).files
    assert (found.repository, found.path) == ("org/name", "model.bin")
    os.makedirs("hub/blobs/ee")
    Path(shared).write_bytes(b"there")
    assert whereabouts.missing(root, b"hub") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "api"},
        {"repository": "../../api/whoami-v2"},
        {"repository": "org/.."},
        {"repository": "a/b/c"},
        {"revision": "mains"},
        {"revision": "../" + "a" * 37},
        {"path": "../../../../api/whoami-v2"},
        {"path": "a//b"},
        {"path": ""},
        {"path": "x" * 5_000},
        {"path": os.fsdecode(b"no text\xff.bin")},
        {"path": "half of a letter\ud800"},
    ],
)
def test_h37_names_that_no_repository_has_are_not_asked_for(fields: dict[str, str]) -> None:
    right = {"kind": "models", "repository": "org/name", "revision": COMMIT, "path": "sub/model.bin"}
    assert hub_files({"hub": [right]}) != []
    assert hub_files({"hub": [right | fields]}) == []
    assert len(hub_files({"hub": [right, right | {"revision": "main"}]})) == 2


def test_what_is_promised_of_a_shared_file_by_the_blobs_that_lead_to_it(root: int) -> None:
    shared = f"hub/blobs/ee/{XET}".encode()
    Path(REPOSITORY, "blobs", DIGEST).symlink_to(f"../../blobs/ee/{XET}")
    Path(REPOSITORY, "blobs", GIT).symlink_to(f"../../blobs/ee/{XET}")
    promised = whereabouts.SharedPromises(root)
    assert promised.of(shared) == bytes.fromhex(DIGEST)
    assert promised.of(BLOB.encode()) is None, "no file of a shared store"
    assert promised.of(b"hub/blobs/ee/" + b"f" * 64) is None
    Path("hub/models--org--other/blobs").mkdir(parents=True)
    Path("hub/models--org--other/blobs", "9" * 64).symlink_to(f"../../blobs/ee/{XET}")
    assert whereabouts.SharedPromises(root).of(shared) is None, "they disagree"
