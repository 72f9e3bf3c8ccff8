"""Every class and worker of transformers loads its model through the mount, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.places import Place

pytestmark = pytest.mark.workers

# The list of the seed, where Vision2Seq stands as ImageTextToText, which took its place in transformers 5.
SEED_CLASSES = [
    f"Auto{name}"
    for name in (
        "Model", "Tokenizer", "Processor", "Config", "FeatureExtractor", "ImageProcessor", "ModelForCausalLM",
        "ModelForSeq2SeqLM", "ModelForSequenceClassification", "ModelForTokenClassification",
        "ModelForQuestionAnswering", "ModelForMaskedLM", "ModelForImageClassification", "ModelForObjectDetection",
        "ModelForImageSegmentation", "ModelForSemanticSegmentation", "ModelForInstanceSegmentation",
        "ModelForUniversalSegmentation", "ModelForZeroShotImageClassification", "ModelForDepthEstimation",
        "ModelForVideoClassification", "ModelForImageTextToText", "ModelForVisualQuestionAnswering",
        "ModelForDocumentQuestionAnswering", "ModelForMaskedImageModeling", "ModelForAudioClassification",
        "ModelForAudioFrameClassification", "ModelForCTC", "ModelForSpeechSeq2Seq", "ModelForAudioXVector",
        "ModelForTextToSpectrogram", "ModelForTextToWaveform", "ModelForTableQuestionAnswering",
    )
]  # fmt: skip


def test_all_33_classes_load_what_was_saved(twice: Any, models: dict[str, Any]) -> None:
    """One process downloads, loads and runs every model of the table; weights and answers are those of the maker."""

    def load_everything(place: Place) -> Any:
        loaded = place.clients.run("transformers_classes")
        assert loaded["models"].keys() == models["models"].keys()
        for name, made in models["models"].items():
            assert loaded["models"][name]["weights"] == made["weights"], f"{name}: other weights than were saved"
            assert loaded["models"][name]["answer"] == pytest.approx(made["answer"], rel=1e-3, abs=1e-6), name
        assert loaded["processors"] == models["processors"]
        # Answers may differ in the last digits from run to run; they were compared above.
        return {
            "classes": loaded["classes"],
            "weights": {name: model["weights"] for name, model in loaded["models"].items()},
            "config": loaded["config"],
            "own code": loaded["own code"],
        }

    loaded = twice(load_everything)
    assert len(SEED_CLASSES) == 33
    assert loaded["classes"] == sorted(SEED_CLASSES)
    assert loaded["config"] == "bert"
    assert loaded["own code"] == ["Doubling", 8.0]
