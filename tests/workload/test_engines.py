"""Engines that read model files in ways of their own give the same answers through the mount as on plain disk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.places import Place

pytestmark = [pytest.mark.workers, pytest.mark.usefixtures("models")]


@pytest.mark.parametrize("engine", ["llama_cpp", "faster_whisper", "diffusers"])
def test_engine_answers_the_same(twice: Any, engine: str) -> None:
    """llama.cpp maps its GGUF shared and populated, CTranslate2 reads, diffusers loads folders of safetensors."""

    def fetch_and_run(place: Place) -> Any:
        return place.clients.run("engines", engine)

    assert twice(fetch_and_run)
