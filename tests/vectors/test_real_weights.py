"""Tensor alignment of what the real libraries write: torch, safetensors, gguf."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipfsfs.unixfs import chunk

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch", reason="needs the dependency group workers")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the dependency group workers")
gguf = pytest.importorskip("gguf", reason="needs the dependency group workers")

pytestmark = pytest.mark.workers


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """21 MB of bf16 in 26 tensors, some of odd sizes."""
    torch.manual_seed(7)
    found = {"embed": torch.randn(3_001, 768)}
    for i in range(5):
        found |= {f"{i}.q": torch.randn(768, 768), f"{i}.mlp": torch.randn(768, 999), f"{i}.norm": torch.randn(769)}
    return {name: tensor.bfloat16() for name, tensor in found.items()}


@pytest.fixture(scope="module")
def base(tensors: dict[str, Tensor]) -> dict[bytes, int]:
    return _leaves(safetensors_torch.save(tensors, {"format": "pt"}))


def _leaves(data: bytes) -> dict[bytes, int]:
    lengths = list(chunk.plan(lambda offset, length: data[offset : offset + length], len(data), "auto"))
    ends = accumulate(lengths)
    return {sha256(data[end - length : end]).digest(): length for length, end in zip(lengths, ends, strict=True)}


def _assert_shared(data: bytes, base: dict[bytes, int]) -> None:
    new = sum(length for digest, length in _leaves(data).items() if digest not in base)
    assert new < len(data) / 1000


def test_torch_save(tensors: dict[str, Tensor], base: dict[bytes, int], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    _assert_shared((tmp_path / "pytorch_model.bin").read_bytes(), base)


def test_torch_save_before_there_was_zip(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    data = (tmp_path / "old.bin").read_bytes()
    lengths = list(chunk.plan(lambda offset, length: data[offset : offset + length], len(data), "auto"))
    assert lengths == list(chunk.fixed(len(data)))


def test_safetensors_of_other_names(tensors: dict[str, Tensor], base: dict[bytes, int]) -> None:
    renamed = {f"model.layers.{name}.weight": tensor for name, tensor in tensors.items()}
    _assert_shared(safetensors_torch.save(renamed, {"format": "pt", "from": "a merge"}), base)


def test_gguf_writer(tensors: dict[str, Tensor], base: dict[bytes, int], tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list([f"token {i}" for i in range(500)])
    for name, tensor in tensors.items():
        writer.add_tensor(
            name, tensor.view(torch.int16).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16, raw_shape=tensor.shape
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _assert_shared((tmp_path / "model.gguf").read_bytes(), base)


def test_quantized_gguf_of_another_tokenizer(tmp_path: Path) -> None:
    """What lies in the header changes, the quantized tensors do not."""
    weights = gguf.quants.quantize(torch.randn(512, 4096).numpy(), gguf.GGMLQuantizationType.Q8_0)
    files = []
    for tokens in (10, 4_321):
        writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
        writer.add_token_list([f"token {i}" for i in range(tokens)])
        for name in "abc":
            writer.add_tensor(name, weights, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files.append((tmp_path / "model.gguf").read_bytes())
    known = _leaves(files[0])
    new = sum(length for digest, length in _leaves(files[1]).items() if digest not in known)
    assert new < len(files[1]) / 50
    assert new > 0
