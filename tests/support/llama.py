"""A model of any size that `from_pretrained` loads, written byte by byte: a Llama with weights drawn by chance."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HIDDEN: Final = 512
INTERMEDIATE: Final = 1536
VOCABULARY: Final = 1024
_LAYER: Final = {
    "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.k_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.v_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
    "mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
    "input_layernorm.weight": (HIDDEN,),
    "post_attention_layernorm.weight": (HIDDEN,),
}
_LAYER_SIZE: Final = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INTERMEDIATE + 2 * HIDDEN)
CONFIG: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


@dataclass(slots=True, frozen=True)
class Llama:
    """What was written: the size of all files together, and the sha256 of each by its name."""

    folder: Path
    size: int
    digests: dict[str, str]


def write_llama(folder: Path, size: int, *, shards: int = 1, seed: int = 1) -> Llama:
    """Write a model of about `size` bytes as so many files of weights, the same for the same seed."""
    chance = random.Random(seed)
    layers = max(shards, round(size / _LAYER_SIZE))
    folder.mkdir(parents=True)
    shapes = [{f"model.layers.{number}.{name}": shape for name, shape in _LAYER.items()} for number in range(layers)]
    groups: list[dict[str, tuple[int, ...]]] = [{} for _ in range(shards)]
    groups[0] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for number, layer in enumerate(shapes):
        groups[number * shards // layers].update(layer)
    names = {}
    for number, group in enumerate(groups):
        name = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        _write_weights(folder / name, group, chance)
        names.update(dict.fromkeys(group, name))
    if shards > 1:
        index = {"metadata": {"total_size": layers * _LAYER_SIZE}, "weight_map": names}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    files = sorted(folder.iterdir())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return Llama(folder, sum(path.stat().st_size for path in files), digests)


def _write_weights(path: Path, shapes: dict[str, tuple[int, ...]], chance: random.Random) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    sizes = []
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + 2 * count]}
        sizes.append(count)
        offset += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for count in sizes:
            values = bytearray(2 * count)  # bf16, between 0.007 and 0.04: the low byte by chance
            values[0::2] = chance.randbytes(count)
            values[1::2] = b"\x3c" * count
            file.write(values)
