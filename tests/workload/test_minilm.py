"""The real all-MiniLM-L6-v2 gives the right embedding, whatever happens to the daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import LocalHub
from tests.support.places import make_place

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


def check_embedding(vectors: Sequence[Sequence[float]]) -> None:
    assert [len(vector) for vector in vectors] == [384] * len(SENTENCES)
    assert vectors[0][: len(PUBLISHED_START)] == pytest.approx(PUBLISHED_START, abs=1e-5)
    likeness = [sum(a * b for a, b in zip(vectors[1], other, strict=True)) for other in vectors[2:]]
    assert likeness == pytest.approx(PUBLISHED_LIKENESS, abs=1e-3)


@pytest.mark.usefixtures("minilm")
def test_right_embedding_before_and_after_the_daemon_is_killed(
    hub: LocalHub, mounted: Callable[..., Any], tmp_path: Path
) -> None:
    """Downloaded through the view, embedded, daemon killed, embedded from plain disk, mounted again, embedded."""
    mount = mounted()
    place = make_place(mount.path, hub, tmp_path / "scratch")
    place.clients.hf_ok("download", "sentence-transformers/all-MiniLM-L6-v2")
    check_embedding(place.clients.run("embed", *SENTENCES))
    mount.kill()
    check_embedding(place.clients.run("embed", *SENTENCES, HF_HUB_OFFLINE="1"))
    mount.remount()
    check_embedding(place.clients.run("embed", *SENTENCES, HF_HUB_OFFLINE="1"))
