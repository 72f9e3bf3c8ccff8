"""Small files of weights in the three formats, written byte by byte: no library, and any lie one likes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

Tensors = Mapping[str, bytes]
"""Names to the bytes of bf16 tensors of one dimension, in the order in which they lie in the file."""

BF16 = 30


def safetensors(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def gguf_string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(
    tensors: Tensors,
    *,
    tokens: int = 10,
    alignment: int = 32,
    tensor_type: int = BF16,
    version: int = 3,
    more: Sequence[bytes] = (),
    dimensions: int = 1,
) -> bytes:
    values = [
        gguf_string("general.architecture") + struct.pack("<I", 8) + gguf_string("llama"),
        gguf_string("general.alignment") + struct.pack("<II", 4, alignment),
        gguf_string("llama.context_length") + struct.pack("<II", 4, 4096),
        gguf_string("llama.rope.scale") + struct.pack("<Id", 12, 1.5),
        gguf_string("tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, tokens)
        + b"".join(gguf_string(f"token {i}") for i in range(tokens)),
        gguf_string("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, tokens) + bytes(4 * tokens),
        *more,
    ]
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)) + b"".join(values)
    body = b""
    for name, data in tensors.items():
        head += gguf_string(name) + struct.pack("<IQ", dimensions, len(data) // 2)
        head += struct.pack("<Q", 1) * (dimensions - 1) + struct.pack("<IQ", tensor_type, len(body))
        body += data + bytes(-len(data) % alignment)
    return head + bytes(-len(head) % alignment) + body


def torch_zip(
    tensors: Tensors, *, prefix: str = "archive", zip64: bool = True, pickle: str = "data.pkl", comment: bytes = b""
) -> bytes:
    """As torch.save lays it out: stored, data at multiples of 64 bytes, sizes behind the data, all of it zip64."""
    members = {pickle: b"\x80\x02" + "".join(tensors).encode()}
    members |= {f"data/{i}": data for i, data in enumerate(tensors.values())}
    members["version"] = b"3\n"
    body = directory = b""
    for member, data in members.items():
        name = f"{prefix}/{member}".encode()
        offset = len(body)
        pad = -(offset + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
        body += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), len(extra))
        body += name + extra + data + b"PK\7\x08" + struct.pack("<IQQ", 0, len(data), len(data))
        sizes = (len(data), len(data), offset)
        field = struct.pack("<HHQQQ", 1, 24, *sizes) if zip64 else b""
        shown = (0xFFFF_FFFF,) * 3 if zip64 else sizes
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            *(b"PK\1\2", 0, 0, 0x808, 0, 0, 0, 0, shown[0], shown[1], len(name), len(field), 0, 0, 0, 0, shown[2]),
        )
        directory += name + field
    for start in range(0, len(comment), 0xFFFF):  # as members of no size with long comments
        part = comment[start : start + 0xFFFF]
        directory += (
            struct.pack("<4s24xHHH12x", b"PK\1\2", len(prefix) + 1, 0, len(part)) + prefix.encode() + b"/" + part
        )
    count = len(members) + -(-len(comment) // 0xFFFF)
    begin, length = len(body), len(directory)
    end = b""
    if zip64:
        end += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 0, 45, 0, 0, count, count, length, begin)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, begin + length, 1)
    shown_count = min(count, 0xFFFF)
    return (
        body + directory + end + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, shown_count, shown_count, length, begin, 0)
    )
