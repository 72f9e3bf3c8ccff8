"""Small models of every kind, as one table: made in seconds by `python -m tests.support.models DIR`, without downloads.

A model here is what a worker meets: a repository folder as `save_pretrained` writes it, with random weights. What was
in memory when it was made is recorded, so that a test can tell that every byte came back right.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.model_engines import make_engines
from tests.support.model_inputs import run_once
from tests.support.model_processors import make_processors

EXPECTED = "expected.json"  # written beside the repositories: what each model and processor was when it was made

TEXT = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DECODER = TEXT | {"num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
CLIP_TEXT = TEXT | {"max_position_embeddings": 32, "eos_token_id": 2, "projection_dim": 16}
CLIP = {"text_config": CLIP_TEXT, "vision_config": IMAGE | {"projection_dim": 16}, "projection_dim": 16}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage4"],
}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 4,
    "backbone_config": RESNET | {"out_features": ["stage1", "stage2", "stage3", "stage4"]},
}
SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
    "image_size": 32,
    "patch_size": 2,
    "window_size": 2,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
WAV2VEC2 = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16, 16],
    "conv_stride": [5, 5],
    "conv_kernel": [10, 3],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": [16, 16],
    "tdnn_kernel": [3, 3],
    "tdnn_dilation": [1, 1],
    "xvector_output_dim": 16,
}
WHISPER = {
    "vocab_size": 51865,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_source_positions": 1500,
    "max_target_positions": 64,
}
LLAVA = {
    "text_config": DECODER | {"model_type": "llama"},
    "vision_config": IMAGE | {"model_type": "clip_vision_model", "projection_dim": 16},
    "image_token_id": 90,
}


@dataclass(frozen=True, slots=True)
class TinyModel:
    """One repository: the Auto class a worker loads it with, its model type and sizes, and what it takes as input."""

    auto: str  # the class of transformers, without "Auto"
    model_type: str
    config: dict[str, Any] = field(repr=False)
    inputs: str  # a name in model_inputs.INPUTS

    @property
    def name(self) -> str:
        return f"{self.model_type}-{self.auto.removeprefix('ModelFor')}"


MODELS = (
    TinyModel("Model", "bert", TEXT, "text"),
    TinyModel("ModelForSequenceClassification", "bert", TEXT, "text"),
    TinyModel("ModelForTokenClassification", "bert", TEXT, "text"),
    TinyModel("ModelForQuestionAnswering", "bert", TEXT, "text"),
    TinyModel("ModelForMaskedLM", "bert", TEXT, "text"),
    TinyModel("ModelForCausalLM", "llama", DECODER, "text"),
    TinyModel("ModelForCausalLM", "qwen2", DECODER, "text"),
    TinyModel("ModelForSeq2SeqLM", "t5", {
        "vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
        "decoder_start_token_id": 0,
    }, "text_to_text"),
    TinyModel("ModelForImageClassification", "vit", IMAGE, "image"),
    TinyModel("ModelForMaskedImageModeling", "vit", IMAGE | {"encoder_stride": 8}, "image"),
    TinyModel("ModelForObjectDetection", "detr", DETR, "image"),
    TinyModel("ModelForImageSegmentation", "detr", DETR, "image"),
    TinyModel("ModelForSemanticSegmentation", "segformer", {
        "num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [8, 16], "sr_ratios": [2, 1],
        "num_attention_heads": [1, 2], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
        "decoder_hidden_size": 16,
    }, "image"),
    TinyModel("ModelForInstanceSegmentation", "maskformer", {
        "fpn_feature_size": 32, "mask_feature_size": 32, "backbone_config": SWIN,
        "decoder_config": {
            "model_type": "detr", "d_model": 32, "decoder_layers": 1, "decoder_attention_heads": 2,
            "decoder_ffn_dim": 16, "num_queries": 4,
        },
    }, "image"),
    TinyModel("ModelForUniversalSegmentation", "mask2former", {
        "hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "encoder_layers": 1, "decoder_layers": 2,
        "num_attention_heads": 2, "encoder_feedforward_dim": 16, "dim_feedforward": 16, "num_queries": 4,
        "backbone_config": SWIN,
    }, "image"),
    TinyModel("ModelForZeroShotImageClassification", "clip", CLIP, "text_and_image"),
    TinyModel("ModelForDepthEstimation", "dpt", IMAGE | {
        "image_size": 64, "patch_size": 16, "num_hidden_layers": 4,
        "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8],
        "fusion_hidden_size": 8, "is_hybrid": False,
    }, "big_image"),
    TinyModel("ModelForVideoClassification", "videomae", IMAGE | {"num_frames": 2, "tubelet_size": 2}, "video"),
    TinyModel("ModelForImageTextToText", "llava", LLAVA, "image_then_text"),
    TinyModel("ModelForImageTextToText", "llava_next", LLAVA | {"image_grid_pinpoints": [[32, 32]]}, "image_tiles"),
    TinyModel("ModelForVisualQuestionAnswering", "vilt", TEXT | IMAGE, "text_and_image"),
    TinyModel("ModelForDocumentQuestionAnswering", "layoutlm", TEXT, "text"),
    TinyModel("ModelForAudioClassification", "wav2vec2", WAV2VEC2, "audio"),
    TinyModel("ModelForAudioFrameClassification", "wav2vec2", WAV2VEC2, "audio"),
    TinyModel("ModelForCTC", "wav2vec2", WAV2VEC2, "audio"),
    TinyModel("ModelForAudioXVector", "wav2vec2", WAV2VEC2, "audio"),
    TinyModel("ModelForSpeechSeq2Seq", "whisper", WHISPER, "speech"),
    TinyModel("ModelForTextToSpectrogram", "speecht5", {
        "vocab_size": 81, "hidden_size": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "speech_decoder_prenet_units": 16,
        "speech_decoder_postnet_units": 16, "speaker_embedding_dim": 16, "speech_decoder_postnet_layers": 2,
    }, "text_to_speech"),
    TinyModel("ModelForTextToWaveform", "vits", {
        "vocab_size": 96, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16,
        "flow_size": 16, "spectrogram_bins": 9, "prior_encoder_num_flows": 1, "posterior_encoder_num_wavenet_layers": 1,
        "prior_encoder_num_wavenet_layers": 1, "upsample_initial_channel": 16, "upsample_rates": [8, 8],
        "upsample_kernel_sizes": [16, 16], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]],
        "duration_predictor_num_flows": 1, "duration_predictor_filter_channels": 16, "depth_separable_num_layers": 1,
        "noise_scale": 0.0, "noise_scale_duration": 0.0,
    }, "text"),
    TinyModel("ModelForTableQuestionAnswering", "tapas", TEXT | {"type_vocab_sizes": [3, 8, 8, 2, 8, 8, 4]}, "text"),
    # Workers whose model has a head of its own kind.
    TinyModel("Model", "xclip", CLIP | {
        "mit_hidden_size": 16, "mit_intermediate_size": 16, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2,
        "prompt_layers": 1, "prompt_num_attention_heads": 2,
        "vision_config": IMAGE | {
            "num_frames": 2, "mit_hidden_size": 16, "mit_intermediate_size": 16, "mit_num_hidden_layers": 1,
            "mit_num_attention_heads": 2,
        },
    }, "text_and_video"),
    TinyModel("Model", "clap", {
        "projection_dim": 16,
        "text_config": TEXT | {"projection_hidden_act": "relu"},
        "audio_config": {
            "spec_size": 64, "num_mel_bins": 16, "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1],
            "num_attention_heads": [1, 2], "window_size": 2, "num_classes": 2, "enable_fusion": False,
        },
    }, "text_and_spectrogram"),
)  # fmt: skip


def fingerprint(tensors: Iterable[tuple[str, Any]]) -> str:
    """sha256 over the names, types, shapes and bytes of tensors, as `model.state_dict().items()` gives them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        array = tensor.detach().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def make_models(out: Path) -> dict[str, Any]:
    """Write every model below `out`; returns by repository name the fingerprint and one run of what was written."""
    import torch
    import transformers

    torch.manual_seed(20261124)
    expected: dict[str, Any] = {}
    for tiny in MODELS:
        config = transformers.AutoConfig.for_model(tiny.model_type, **tiny.config)
        model = getattr(transformers, f"Auto{tiny.auto}").from_config(config).eval()
        model.save_pretrained(out / tiny.name)
        expected[tiny.name] = {
            "weights": fingerprint(model.state_dict().items()),
            "answer": run_once(model, tiny.inputs),
        }
    return expected


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected = {"models": make_models(out), "processors": make_processors(out)}
    make_engines(out)
    (out / EXPECTED).write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main()
