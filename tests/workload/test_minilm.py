"""The real all-MiniLM-L6-v2 gives the right embedding, whatever happens to the daemon."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import LocalHub
from tests.support.places import Place, make_place

pytestmark = pytest.mark.workers

SENTENCES = (
    "This is an example sentence",
    "That is a happy person",
    "That is a happy dog",
    "That is a very happy person",
    "Today is a sunny day",
)
# What the model's own documentation prints for the first sentence, and for the likeness of the second to the others.
PUBLISHED_START = (0.0676569, 0.0634959, 0.0487131, 0.0793049, 0.0374481, 0.0026528, 0.0393750, -0.0070984)
PUBLISHED_LIKENESS = (0.695, 0.943, 0.257)


def embed(place: Place, **env: str) -> str:
    """Embed, check that the vectors are right, return the fingerprint of the weights they were made with."""
    answered = place.clients.run("embed", *SENTENCES, **env)
    vectors = answered["vectors"]
    assert [len(vector) for vector in vectors] == [384] * len(SENTENCES)
    assert vectors[0][: len(PUBLISHED_START)] == pytest.approx(PUBLISHED_START, abs=1e-5)
    likeness = [sum(a * b for a, b in zip(vectors[1], other, strict=True)) for other in vectors[2:]]
    assert likeness == pytest.approx(PUBLISHED_LIKENESS, abs=1e-3)
    weights: str = answered["weights"]
    return weights


def test_right_embedding_before_and_after_the_daemon_is_killed(
    hub: LocalHub, minilm: str, mounted: Callable[..., Any], tmp_path: Path
) -> None:
    """Downloaded through the view, embedded, daemon killed, embedded from plain disk, mounted again, embedded."""
    mount = mounted()
    place = make_place(mount.path, hub, tmp_path / "scratch")
    place.clients.hf_ok("download", minilm)
    weights = embed(place)
    mount.kill()
    assert embed(place, HF_HUB_OFFLINE="1") == weights
    mount.remount()
    assert embed(place, HF_HUB_OFFLINE="1") == weights
    etag = hub.files(minilm)["model.safetensors"].etag
    assert hashlib.sha256(place.blob(minilm, etag).read_bytes()).hexdigest() == etag
