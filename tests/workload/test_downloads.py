"""The hub client downloads through the mount as onto plain disk: over HTTP and Xet, cut, killed, raced, offline."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import LocalHub
from tests.support.places import Place, make_place
from tests.support.trees import differences_of_runs

pytestmark = pytest.mark.workers

MEGABYTE = 1_000_000


def noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def small_repo(seed: str, weights: int) -> dict[str, bytes]:
    """A repository with folders, a name that must be quoted, an empty file, and weights of that many bytes."""
    return {
        "README.md": b"---\nlicense: mit\n---\n",
        "config.json": b"{}",
        "empty.txt": b"",
        "onnx/a name, quoted.onnx": noise(f"{seed} onnx", 70_001),
        "model.safetensors": noise(seed, weights),
    }


def download_by_xet(place: Place, repo_id: str) -> None:
    """Download one file alone, and then the others of `small_repo` beside each other.

    The first file has the client begin its store of shared blobs. Of two threads that begin it at once the client has
    one give up, on any disk: which files are shared is then left to chance.
    """
    place.clients.hf_ok("download", repo_id, "onnx/a name, quoted.onnx")
    place.clients.hf_ok("download", repo_id)


def snapshot_hashes(place: Place, repo_id: str) -> dict[str, str]:
    folder = place.snapshot(repo_id)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())}


@pytest.mark.filesystem
@pytest.mark.parametrize("xet", [False, True], ids=["http", "xet"])
def test_snapshot_download(hub: LocalHub, twice: Any, xet: bool) -> None:
    repo_id = f"tests/snapshot-{'xet' if xet else 'http'}"
    files = small_repo(repo_id, 20 * MEGABYTE)
    hub.add(repo_id, files, xet=xet)

    def download(place: Place) -> Any:
        before = len(hub.requests(repo_id))
        if xet:
            download_by_xet(place, repo_id)
        else:
            place.clients.hf_ok("download", repo_id)
        place.clients.hf_ok("download", repo_id)
        over_http = [r for r in hub.requests(repo_id)[before:] if r.name.endswith(".safetensors") and r.sent]
        return {"files": snapshot_hashes(place, repo_id), "weights over http": len(over_http)}

    done = twice(download)
    assert done["files"] == hashes(files)
    assert done["weights over http"] == (0 if xet else 1)


def test_two_repositories_share_one_xet_file(hub: LocalHub, twice: Any) -> None:
    """Hub 2.x keeps one copy in `hub/blobs`; removing one repository leaves the other whole, removing both frees it."""
    files = {name: small_repo("shared", 3 * MEGABYTE) | {"name": name.encode()} for name in ("one", "two")}
    for name, content in files.items():
        hub.add(f"tests/{name}", content, xet=True)

    def download_and_remove(place: Place) -> Any:
        for name in files:
            download_by_xet(place, f"tests/{name}")
        shared = [p for p in (place.home / "hub" / "blobs").rglob("*") if p.is_file() and len(p.name) == 64]
        place.clients.hf_ok("cache", "rm", "model/tests/one", "--yes")
        kept = snapshot_hashes(place, "tests/two")
        place.clients.hf_ok("cache", "rm", "model/tests/two", "--yes")
        return {"shared": len(shared), "kept": kept, "left": [path.exists() for path in shared]}

    done = twice(download_and_remove)
    assert done == {"shared": 2, "kept": hashes(files["two"]), "left": [False, False]}


def test_a_cut_download_resumes(hub: LocalHub, twice: Any) -> None:
    """The connection breaks after 15 MB of 25: the client asks for the rest and appends it."""
    files = small_repo("cut", 25 * MEGABYTE)
    hub.add("tests/cut", files)

    def download(place: Place) -> Any:
        hub.spoil("tests/cut", "model.safetensors", cut_after=15 * MEGABYTE, times=1)
        before = len(hub.requests("tests/cut"))
        place.clients.hf_ok("download", "tests/cut")
        sent = [r for r in hub.requests("tests/cut")[before:] if r.name.endswith(".safetensors") and r.sent]
        return {"files": snapshot_hashes(place, "tests/cut"), "ranges": [r.range for r in sent]}

    done = twice(download)
    assert done["files"] == hashes(files)
    # The client has kept whole chunks of 10 MiB of what it was sent.
    assert done["ranges"] == [None, "bytes=10485760-"]


def test_a_killed_download_is_made_again_and_pruned(hub: LocalHub, twice: Any) -> None:
    """SIGKILL in the middle leaves an `.incomplete` file; the next download is right, `hf cache prune` tidies up."""
    files = small_repo("killed", 25 * MEGABYTE)
    hub.add("tests/killed", files)
    etag = hub.files("tests/killed")["model.safetensors"].etag

    def kill_and_download(place: Place) -> Any:
        hub.spoil("tests/killed", "model.safetensors", rate=20 * MEGABYTE)
        blobs = place.home / "hub" / "models--tests--killed" / "blobs"
        with place.clients.start_hf("download", "tests/killed") as process:
            wait_until(lambda: any(path.stat().st_size > 10 * MEGABYTE for path in blobs.glob(f"{etag}.*")))
            process.send_signal(signal.SIGKILL)
        left = len(list(blobs.glob("*.incomplete")))
        whole = (blobs / etag).exists()
        hub.heal("tests/killed", "model.safetensors")
        place.clients.hf_ok("download", "tests/killed")
        place.clients.hf_ok("cache", "prune", "--yes")
        pruned = len(list(blobs.glob("*.incomplete")))
        return {"files": snapshot_hashes(place, "tests/killed"), "left": left, "whole": whole, "pruned": pruned}

    done = twice(kill_and_download)
    assert done == {"files": hashes(files), "left": 1, "whole": False, "pruned": 0}


def test_two_processes_race_for_one_download(hub: LocalHub, twice: Any) -> None:
    """The lock makes one of them wait: both succeed and the weights are sent once."""
    files = small_repo("race", 12 * MEGABYTE)
    hub.add("tests/race", files)

    def race(place: Place) -> Any:
        hub.spoil("tests/race", "model.safetensors", rate=8 * MEGABYTE)
        before = len(hub.requests("tests/race"))
        with (
            place.clients.start_hf("download", "tests/race") as first,
            place.clients.start_hf("download", "tests/race") as second,
        ):
            errors = [racer.communicate(timeout=60)[1] for racer in (first, second)]
            ends = [first.returncode, second.returncode]
        assert ends == [0, 0], errors
        sent = [r for r in hub.requests("tests/race")[before:] if r.name.endswith(".safetensors") and r.sent]
        return {"files": snapshot_hashes(place, "tests/race"), "sent": len(sent)}

    done = twice(race)
    assert done["files"] == hashes(files)
    assert done["sent"] == 1


def test_offline_mode(hub: LocalHub, twice: Any) -> None:
    """What is cached is found without a Hub, what is not is a clean error, also right after a new revision's names."""
    hub.add("tests/offline", small_repo("offline", MEGABYTE))

    def go_offline(place: Place) -> Any:
        before = place.clients.hf("download", "tests/offline", HF_HUB_OFFLINE="1").returncode
        path = place.clients.hf_ok("download", "tests/offline", "--quiet").strip()
        offline = place.clients.hf_ok("download", "tests/offline", "--quiet", HF_HUB_OFFLINE="1").strip()
        missing = place.clients.hf("download", "tests/offline", "no-such-file", HF_HUB_OFFLINE="1").returncode
        no_hub = place.clients.hf_ok("download", "tests/offline", "--quiet", HF_ENDPOINT="http://127.0.0.1:9").strip()
        assert path == offline == no_hub
        return {"before": before, "missing": missing, "path": os.path.relpath(path, place.home)}

    done = twice(go_offline)
    assert (done["before"], done["missing"]) == (1, 1)


def test_a_new_revision_reuses_what_has_not_changed(hub: LocalHub, twice: Any) -> None:
    """A branch moves on: its ref is replaced, unchanged files are linked to the blobs that are there."""
    first = small_repo("first", 2 * MEGABYTE)
    second = first | {"config.json": b'{"new": true}', "added/file.bin": noise("added", 1000)}

    def update(place: Place) -> Any:
        hub.add("tests/revised", first)
        place.clients.hf_ok("download", "tests/revised")
        commit = hub.add("tests/revised", second)
        place.clients.hf_ok("download", "tests/revised")
        repo = place.home / "hub" / "models--tests--revised"
        assert (repo / "refs" / "main").read_text() == commit
        return {
            "blobs": sorted(path.name for path in (repo / "blobs").iterdir()),
            "links": sorted(str(path.readlink()) for path in (repo / "snapshots").rglob("*") if path.is_symlink()),
        }

    done = twice(update)
    assert len(done["blobs"]) == len(first) + 2
    assert len(done["links"]) == len(first) + len(second)


@pytest.mark.filesystem
def test_one_flipped_byte_never_reaches_the_worker(hub: LocalHub, mounted: Callable[..., Any], tmp_path: Path) -> None:
    """H23: the mount refuses content that is not what its name says; the client fails cleanly and then gets it right.

    The client checks the size alone. Plain disk is the control: there the bad byte is accepted without a word, which
    is why the mount checks.
    """
    files = small_repo("flipped", 3 * MEGABYTE)
    hub.add("tests/flipped", files)
    etag = hub.files("tests/flipped")["model.safetensors"].etag

    plain = make_place(tmp_path / "plain", hub, tmp_path / "plain scratch")
    hub.spoil("tests/flipped", "model.safetensors", flip=2 * MEGABYTE, times=1)
    plain.clients.hf_ok("download", "tests/flipped")
    assert hashlib.sha256(plain.blob("tests/flipped", etag).read_bytes()).hexdigest() != etag

    mount = mounted()
    mount.expect_logged.append(rf"{etag}: sha256 is .* not what the name promises")
    place = make_place(mount.path, hub, tmp_path / "scratch")
    hub.spoil("tests/flipped", "model.safetensors", flip=2 * MEGABYTE, times=1)
    refused = place.clients.hf("download", "tests/flipped")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert not place.blob("tests/flipped", etag).exists()
    assert "model.safetensors" not in snapshot_hashes(place, "tests/flipped")
    assert list(place.blob("tests/flipped", etag).parent.glob(f"*{etag}*")) == []
    assert [item["note"]["path"].endswith(etag) for item in mount.status()["quarantine"]] == [True]

    place.clients.hf_ok("download", "tests/flipped")
    assert snapshot_hashes(place, "tests/flipped") == hashes(files)
    mount.umount()
    clean = make_place(tmp_path / "clean", hub, tmp_path / "clean scratch")
    clean.clients.hf_ok("download", "tests/flipped")
    assert differences_of_runs(clean.home, mount.path) == []


def test_a_flipped_byte_does_not_replace_what_is_there(
    hub: LocalHub, mounted: Callable[..., Any], tmp_path: Path
) -> None:
    """H23, where the name exists: a forced download that comes wrong leaves the right content in its place."""
    files = small_repo("forced", 3 * MEGABYTE)
    hub.add("tests/forced", files)
    etag = hub.files("tests/forced")["model.safetensors"].etag
    mount = mounted()
    mount.expect_logged.append(rf"{etag}: sha256 is .* not what the name promises")
    place = make_place(mount.path, hub, tmp_path / "scratch")
    place.clients.hf_ok("download", "tests/forced")

    hub.spoil("tests/forced", "model.safetensors", flip=2 * MEGABYTE, times=1)
    refused = place.clients.hf("download", "tests/forced", "model.safetensors", "--force-download")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert snapshot_hashes(place, "tests/forced") == hashes(files)
    blobs = place.blob("tests/forced", etag).parent
    assert sorted(path.name for path in blobs.iterdir()) == sorted({f.etag for f in hub.files("tests/forced").values()})
    place.clients.hf_ok("download", "tests/forced", "model.safetensors", "--force-download")
    assert snapshot_hashes(place, "tests/forced") == hashes(files)


def wait_until(ready: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
