"""Small models for engines other than transformers' own: llama.cpp, CTranslate2, diffusers, and a model with code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.model_processors import clip_tokenizer

REMOTE_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel


class DoublingConfig(PretrainedConfig):
    model_type = "doubling"


class Doubling(PreTrainedModel):
    config_class = DoublingConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.full((4,), 2.0))
        self.post_init()

    def forward(self, values):
        return {"doubled": values * self.scale}
"""


def make_gguf(out: Path) -> None:
    """A llama model of 2 layers in GGUF, all its vocabulary bytes and letters."""
    import gguf
    import numpy

    out.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(20261124)
    width, feed_forward, layers, heads = 64, 128, 2, 4
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256
    types += [gguf.TokenType.NORMAL] * (len(tokens) - len(types))

    writer = gguf.GGUFWriter(out / "tiny.gguf", "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(feed_forward)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def matrix(*shape: int) -> Any:
        return (random.standard_normal(shape) / 8).astype(numpy.float32)

    tensors = {"token_embd.weight": matrix(len(tokens), width), "output.weight": matrix(len(tokens), width)}
    tensors["output_norm.weight"] = numpy.ones(width, numpy.float32)
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{i}.{name}.weight"] = numpy.ones(width, numpy.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{i}.{name}.weight"] = matrix(width, width)
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{i}.{name}.weight"] = matrix(feed_forward, width)
        tensors[f"blk.{i}.ffn_down.weight"] = matrix(width, feed_forward)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_faster_whisper(whisper: Path, processor: Path, out: Path) -> None:
    """What `ct2-transformers-converter` makes of a small Whisper, with the files faster-whisper asks the Hub for."""
    from ctranslate2.converters import TransformersConverter

    (whisper / "generation_config.json").write_text(
        json.dumps({"alignment_heads": [[0, 0]], "suppress_tokens": [], "begin_suppress_tokens": [220, 50257]})
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (whisper / name).write_bytes((processor / name).read_bytes())
    TransformersConverter(str(whisper), copy_files=["tokenizer.json"]).convert(str(out))


def make_diffusers(out: Path) -> None:
    """A Stable Diffusion pipeline of the smallest sizes, with all its folders."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(20261124)
    tokenizer = clip_tokenizer()
    blocks = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            **blocks,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
        ),
        vae=AutoencoderKL(
            **blocks,
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=16,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        ),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(num_train_timesteps=10, steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out)


def make_remote_code(out: Path) -> None:
    """A model whose class comes with it: `trust_remote_code` copies it into the cache's `modules/` and imports it."""
    import torch
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    (out / "modeling_doubling.py").write_text(REMOTE_CODE)
    config = {
        "model_type": "doubling",
        "architectures": ["Doubling"],
        "auto_map": {"AutoConfig": "modeling_doubling.DoublingConfig", "AutoModel": "modeling_doubling.Doubling"},
    }
    (out / "config.json").write_text(json.dumps(config))
    save_file({"scale": torch.full((4,), 2.0)}, out / "model.safetensors", metadata={"format": "pt"})


def make_engines(out: Path) -> None:
    """Needs the repositories of `models` and `model_processors` in `out` already."""
    make_gguf(out / "gguf")
    make_faster_whisper(out / "whisper-SpeechSeq2Seq", out / "whisper-processor", out / "faster-whisper")
    make_diffusers(out / "stable-diffusion")
    make_remote_code(out / "doubling")
