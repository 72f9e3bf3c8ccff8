"""The client's shared store of what came by Xet, while files of it are evicted, hydrated and healed.

A blob there is a link to `hub/blobs/<2 hex>/<hash>`, which repositories share; a manifest beside that says which do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.evict import Answer, Question
from tests.support.elsewhere import eventually_resident, plain_link, plain_root
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.places import Place, make_place
from tests.support.weights import safetensors
from tests.workload.test_cache_commands import listed, noise

pytestmark = pytest.mark.workers

WEIGHTS = noise("by xet", 5_000_000)


@dataclass(slots=True, frozen=True)
class Cache:
    """A view, clients that use it, and the file in the shared store that `tests/one` has its weights in."""

    view: Mounted
    place: Place
    stored: Path

    def manifest(self) -> list[str]:
        """Which blobs the client knows to lead to the stored file."""
        return sorted(
            {line.split("/")[0] for line in self.stored.with_name(f"{self.stored.name}.refs").read_text().split()}
        )

    def evict(self) -> Answer:
        """Evict all that may go."""
        self.view.seal()
        return ask(self.view.store, Question((b"hub",), None, False))

    def weights(self, name: str) -> Path:
        """The weights of a repository, by its snapshot."""
        return self.place.snapshot(f"tests/{name}") / "model.safetensors"

    def verify(self, name: str) -> None:
        """The client finds nothing wrong with a repository."""
        self.place.clients.hf_ok("cache", "verify", f"tests/{name}", "--fail-on-missing-files")


@pytest.fixture
def cache(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[Cache]:
    for name in ("one", "two"):
        hub.add(f"tests/{name}", {"model.safetensors": WEIGHTS, "config.json": name.encode()}, xet=True)
    (tmp_path / "view").mkdir()
    view = mounted(tmp_path / "view", "--hub", hub.url, "--patience", "5")
    place = make_place(view.path, hub, tmp_path / "clients")
    place.clients.hf_ok("download", "tests/one")
    blob = place.blob("tests/one", hub.files("tests/one")["model.safetensors"].etag)
    assert os.readlink(blob).startswith("../../blobs/"), "this is no store of what came by Xet any more"
    yield Cache(view, place, Path(os.path.normpath(blob.parent / os.readlink(blob))))
    if view.mounted:
        view.umount()


def fetched(hub: LocalHub) -> int:
    """Bytes of content that the Hub has sent."""
    return sum(one.sent for one in hub.requests() if one.name)


def test_another_repository_links_to_what_is_evicted_and_each_can_be_removed(cache: Cache, hub: LocalHub) -> None:
    view, place = cache.view, cache.place
    before = listed(place)
    assert cache.evict().files == 1
    assert plain_link(view, cache.stored) is not None
    assert listed(place) == before
    asked = fetched(hub)
    place.clients.hf_ok("download", "tests/two")
    assert fetched(hub) - asked < 1000, "its weights are linked to, though they are not here"
    assert cache.manifest() == ["models--tests--one", "models--tests--two"]
    assert plain_link(view, cache.stored) is not None
    cache.verify("two")
    eventually_resident(view, cache.stored)
    assert cache.stored.stat().st_mode & 0o777 == 0o444

    assert cache.evict().files == 1
    place.clients.hf_ok("cache", "rm", "model/tests/two", "--yes")
    assert cache.manifest() == ["models--tests--one"]
    cache.verify("one")
    view.run("prefetch", cache.weights("one").parent)
    assert plain_link(view, cache.stored) is None

    assert cache.evict().files == 1
    place.clients.hf_ok("cache", "rm", "model/tests/one", "--yes")
    beneath = plain_root(view) / cache.stored.relative_to(view.path)
    assert not os.path.lexists(beneath), "nobody refers to it any more"
    assert [row["repo_id"] for row in listed(place)] == []


def test_prune_removes_what_is_evicted_and_of_no_use(cache: Cache, hub: LocalHub) -> None:
    view, place = cache.view, cache.place
    assert cache.evict().files == 1
    hub.add("tests/one", {"model.safetensors": noise("newer", 3_000_000), "config.json": b"one"}, xet=True)
    place.clients.hf_ok("download", "tests/one")
    beneath = plain_root(view) / cache.stored.relative_to(view.path)
    assert beneath.is_symlink(), "a newer revision fetches nothing of the older one"
    place.clients.hf_ok("cache", "prune", "--yes")
    assert not os.path.lexists(beneath)
    assert cache.weights("one").read_bytes() == noise("newer", 3_000_000)
    cache.verify("one")


def test_it_is_removed_while_it_is_mapped_and_fetched(hub: LocalHub, cache: Cache) -> None:
    """A worker that has mapped the weights reads all of them, though `hf cache rm` comes between."""
    place = cache.place
    layers = {f"layer{number}": noise(f"layer {number}", 4_000_000) for number in range(6)}
    tensors = safetensors(layers).replace(b'"BF16"', b'"I16" ')
    hub.add("tests/mapped", {"model.safetensors": tensors, "config.json": b"{}"}, xet=True)
    place.clients.hf_ok("download", "tests/mapped")
    weights = cache.weights("mapped")
    stored = weights.resolve()
    assert stored.parent.parent == cache.stored.parent.parent
    before = place.clients.run_with_line("mapped", str(weights), meanwhile=lambda: None)
    assert cache.evict().files == 2
    cache.view.remount()  # nothing of it is in the kernel's memory
    hub.spoil("tests/mapped", "model.safetensors", rate=4_000_000)
    remove = ("cache", "rm", "model/tests/mapped", "--yes")
    after = place.clients.run_with_line("mapped", str(weights), meanwhile=lambda: place.clients.hf_ok(*remove))
    assert after == before
    assert not stored.exists()
    with cache.weights("one").open("rb"):
        assert cache.evict().files == 0, "it is open"


def test_what_was_overwritten_is_healed_there_and_collected_as_before(cache: Cache, hub: LocalHub) -> None:
    view, place = cache.view, cache.place
    place.clients.hf_ok("download", "tests/two")
    view.seal()
    with cache.stored.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"a tool wrote here")
    view.seal()
    assert place.clients.hf("cache", "verify", "tests/two").returncode == 1
    assert "1 file put back" in view.run("restore", cache.weights("two")).stdout
    cache.verify("one")
    cache.verify("two")
    assert cache.stored.stat().st_mode & 0o777 == 0o444
    assert cache.evict().files == 1
    place.clients.hf_ok("cache", "rm", "model/tests/one", "--yes")
    assert cache.manifest() == ["models--tests--two"]
    cache.verify("two")
    place.clients.hf_ok("cache", "rm", "model/tests/two", "--yes")
    assert not cache.stored.exists()


def test_without_the_view_the_client_downloads_what_was_evicted(cache: Cache, hub: LocalHub) -> None:
    view, place = cache.view, cache.place
    assert cache.evict().files == 1
    view.umount()
    assert cache.stored.is_symlink()
    place.clients.hf_ok("download", "tests/one")
    assert not cache.stored.is_symlink()
    assert cache.weights("one").read_bytes() == WEIGHTS
    view.mount()
    cache.verify("one")
    assert cache.evict().files == 1
    view.umount()
    place.clients.hf("cache", "rm", "model/tests/one", "--yes")
    view.mount()
    place.clients.hf_ok("cache", "rm", "model/tests/one", "--yes")
    assert not os.path.lexists(plain_root(view) / cache.stored.relative_to(view.path))
