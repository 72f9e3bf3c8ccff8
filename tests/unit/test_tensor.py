"""Chunking of files of weights: what is shared between formats, and what lies in headers can do (nothing)."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from hashlib import sha256
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.unixfs import chunk, tensor
from tests.support import weights

_MIB = chunk.LEAF_MAX


def _reader(data: bytes) -> Callable[[int, int], bytes]:
    def read_at(offset: int, length: int) -> bytes:
        assert 0 <= offset < 1 << 63, "pread would say EINVAL"
        assert 0 <= length < 1 << 63
        return data[offset : offset + length]

    return read_at


def _plan(data: bytes, chunker: chunk.Chunker = "auto") -> list[int]:
    lengths = list(chunk.plan(_reader(data), len(data), chunker))
    assert sum(lengths) == len(data)
    assert all(1 <= length <= _MIB for length in lengths)
    return lengths


def _leaves(data: bytes, chunker: chunk.Chunker) -> dict[bytes, int]:
    """Digest to length of each leaf."""
    lengths = _plan(data, chunker)
    return {
        sha256(data[end - length : end]).digest(): length
        for length, end in zip(lengths, accumulate(lengths), strict=True)
    }


def _new(variant: list[bytes], base: bytes, chunker: chunk.Chunker) -> float:
    """Percent of the bytes of `variant` (files) that have to be stored when `base` is there already."""
    known = _leaves(base, chunker)
    made: dict[bytes, int] = {}
    for data in variant:
        made |= _leaves(data, chunker)
    missing = sum(length for digest, length in made.items() if digest not in known)
    return 100 * missing / sum(len(data) for data in variant)


def _model(layers: int = 8) -> dict[str, bytes]:
    """A model of 27 MB with the proportions of a real one: large matrices, small norms, odd lengths."""
    source = random.Random(1)
    tensors = {"embed": source.randbytes(4 * _MIB + 600)}
    for i in range(layers):
        tensors[f"layers.{i}.q"] = source.randbytes(_MIB)
        tensors[f"layers.{i}.mlp"] = source.randbytes(2 * _MIB - 2)
        tensors[f"layers.{i}.norm"] = source.randbytes(1_538)
    return tensors


_BASE = _model()
_FILE = weights.safetensors(_BASE, {"format": "pt"})


def _renamed() -> dict[str, bytes]:
    return {f"model.decoder.{name}.weight": data for name, data in _BASE.items()}


def _sharded(count: int) -> list[bytes]:
    names = list(_BASE)
    return [weights.safetensors({name: _BASE[name] for name in names[i::count]}) for i in range(count)]


# Variant, at most this many percent new: the table in docs (measured on a model of 212 MB).
_VARIANTS: dict[str, tuple[list[bytes], float]] = {
    "copy": ([_FILE], 0),
    "other metadata": ([weights.safetensors(_BASE, {"format": "pt", "note": "x" * 100})], 0.02),
    "tensors renamed": ([weights.safetensors(_renamed(), {"format": "pt"})], 0.02),
    "a small tensor added": ([weights.safetensors({"extra": b"\1\2" * 500, **_BASE})], 0.02),
    "sharded into 4": (_sharded(4), 0.02),
    "torch zip": ([weights.torch_zip(_BASE)], 0.05),
    "torch zip of tensors renamed": ([weights.torch_zip(_renamed(), prefix="pytorch_model")], 0.05),
    "GGUF": ([weights.gguf(_BASE, tokens=50)], 0.05),
    "GGUF of another tokenizer": ([weights.gguf(_renamed(), tokens=77)], 0.05),
    "1 of 8 layers changed": (
        [weights.safetensors(_BASE | {f"layers.3.{part}": _model(1)["embed"][:_MIB] for part in ("q", "mlp")})],
        13,
    ),
    "vocabulary grown": ([weights.safetensors(_BASE | {"embed": _BASE["embed"] + bytes(64 * 768)})], 1),
}


@pytest.mark.parametrize("variant", _VARIANTS)
def test_variants_share_their_tensors(variant: str) -> None:
    files, most = _VARIANTS[variant]
    assert _new(files, _FILE, "auto") <= most


@pytest.mark.parametrize("variant", ["other metadata", "tensors renamed", "torch zip", "GGUF"])
def test_variants_share_nothing_when_cut_every_mebibyte(variant: str) -> None:
    """What `auto` is for: the variants above really do shift their bytes."""
    assert _new(_VARIANTS[variant][0], _FILE, "fixed") > 90


def _expected(data: bytes, tensors: dict[str, bytes]) -> list[int]:
    found = []
    for content in tensors.values():
        begin = data.index(content)
        found += [begin, begin + len(content)]
    return sorted(set(found) - {0, len(data)})


@pytest.mark.parametrize(
    "write",
    [
        weights.safetensors,
        weights.gguf,
        lambda tensors: weights.gguf(tensors, version=2, alignment=64),
        weights.torch_zip,
        lambda tensors: weights.torch_zip(tensors, zip64=False),
    ],
    ids=["safetensors", "gguf", "gguf-2-aligned-64", "torch-zip", "torch-zip-32"],
)
@pytest.mark.parametrize("length", [2, 62, 64, 4_094, _MIB, 2 * _MIB + 2])
def test_every_tensor_is_cut_out(write: Callable[[dict[str, bytes]], bytes], length: int) -> None:
    source = random.Random(length)
    tensors = {name: b"\xab\xcd" * 8 + source.randbytes(length) + b"\xef\x01" * 8 for name in "abc"}
    data = write(tensors)
    assert tensor.cuts(_reader(data), len(data)) == _expected(data, tensors)


def test_zip_of_another_writer() -> None:
    """Python's zipfile has no padding and no zip64 where none is needed; compressed members are left alone."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/data.pkl", b"pickle" * 100, zipfile.ZIP_DEFLATED)
        for i, content in enumerate(_BASE.values()):
            archive.writestr(f"m/data/{i}", content)
        archive.writestr("m/data/99", bytes(100_000), zipfile.ZIP_DEFLATED)
        archive.writestr("m/version", b"3")
    data = stream.getvalue()
    assert tensor.cuts(_reader(data), len(data)) == _expected(data, _BASE)


def test_quantized_tensors_reach_to_the_next() -> None:
    source = random.Random(5)
    tensors = {name: source.randbytes(100) for name in "abc"}
    data = weights.gguf(tensors, tensor_type=12)
    begins = sorted(data.index(content) for content in tensors.values())
    assert tensor.cuts(_reader(data), len(data)) == begins


def test_empty_tensors_are_nothing() -> None:
    tensors = {"a": b"\1\2" * 50, "none": b"", "b": b"\3\4" * 60}
    for data in (weights.safetensors(tensors), weights.gguf(tensors), weights.torch_zip(tensors)):
        assert tensor.cuts(_reader(data), len(data)) == _expected(data, {"a": tensors["a"], "b": tensors["b"]})


_SMALL = {"a": b"\1\2" * 50, "b": b"\3\4" * 60}
_GOOD = weights.safetensors(_SMALL)
_GOOD_GGUF = weights.gguf(_SMALL)
_GOOD_ZIP = weights.torch_zip(_SMALL)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1
    assert len(old) == len(new)
    return data.replace(old, new)


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    at %= len(data)
    return data[:at] + new + data[at + len(new) :]


def _padded(tensors: dict[str, bytes], length: int) -> bytes:
    """A safetensors file with a header of `length` bytes, as long as spaces make it."""
    data = weights.safetensors(tensors)
    end = 8 + int.from_bytes(data[:8], "little")
    return struct.pack("<Q", length) + data[8:end] + b" " * (length + 8 - end) + data[end:]


_GOOD_ZIP_32 = weights.torch_zip(_SMALL, zip64=False)
_LOCAL = _GOOD_ZIP.index(b"archive/data/1") - 30
_END64, _LOCATOR, _END = -98, -42, -22
_SIZES = struct.pack("<HHQQ", 1, 24, 120, 120)

_LIES = {
    "safetensors: bytes behind the end": _GOOD + b"\0",
    "safetensors: cut short": _GOOD[:-1],
    "safetensors: overlap": _replaced(_GOOD, b"[100, 220]", b"[090, 220]"),
    "safetensors: hole": _replaced(_GOOD, b"[100, 220]", b"[101, 220]"),
    "safetensors: ends before it begins": _replaced(_GOOD, b"[100, 220]", b"[220, 100]"),
    "safetensors: no tensors": struct.pack("<Q", 2) + b"{}",
    "safetensors: header longer than the file": struct.pack("<Q", 1 << 20) + _GOOD[8:],
    "safetensors: header of an exbibyte": struct.pack("<Q", 1 << 60) + _GOOD[8:],
    "safetensors: header too long to read": _padded(_SMALL, (32 << 20) + 8),
    "safetensors: too many tensors": weights.safetensors({str(i): b"ab" for i in range((1 << 18) + 1)}),
    "gguf: bytes behind the end": _GOOD_GGUF + bytes(32),
    "gguf: padding as long as the alignment": weights.gguf({"a": b"\1\2" * 32}) + bytes(32),
    "gguf: cut short": _GOOD_GGUF[:-32],
    "gguf: version 1": _GOOD_GGUF[:4] + struct.pack("<I", 1) + _GOOD_GGUF[8:],
    "gguf: big-endian": _GOOD_GGUF[:4] + struct.pack(">I", 3) + _GOOD_GGUF[8:],
    "gguf: no tensors": _GOOD_GGUF[:8] + struct.pack("<Q", 0) + _GOOD_GGUF[16:],
    "gguf: countless tensors": _GOOD_GGUF[:8] + struct.pack("<Q", 1 << 63) + _GOOD_GGUF[16:],
    "gguf: countless values": _GOOD_GGUF[:16] + struct.pack("<Q", 1 << 63) + _GOOD_GGUF[24:],
    "gguf: a key of exbibytes": _GOOD_GGUF[:24] + struct.pack("<Q", 1 << 62) + _GOOD_GGUF[32:],
    "gguf: a string of exbibytes": _replaced(
        _GOOD_GGUF, weights.gguf_string("llama"), struct.pack("<Q", (1 << 64) - 1) + b"llama"
    ),
    "gguf: countless strings": _replaced(_GOOD_GGUF, struct.pack("<IIQ", 9, 8, 10), struct.pack("<IIQ", 9, 8, 1 << 63)),
    "gguf: countless numbers": _replaced(_GOOD_GGUF, struct.pack("<IIQ", 9, 6, 10), struct.pack("<IIQ", 9, 6, 1 << 63)),
    "gguf: array of arrays": _replaced(_GOOD_GGUF, struct.pack("<IIQ", 9, 6, 10), struct.pack("<IIQ", 9, 9, 10)),
    "gguf: unknown type of value": _replaced(_GOOD_GGUF, struct.pack("<Id", 12, 1.5), struct.pack("<Id", 99, 1.5)),
    "gguf: alignment 0": _replaced(_GOOD_GGUF, struct.pack("<II", 4, 32), struct.pack("<II", 4, 0)),
    "gguf: alignment no power of two": _replaced(_GOOD_GGUF, struct.pack("<II", 4, 32), struct.pack("<II", 4, 48)),
    "gguf: alignment of another type": _replaced(_GOOD_GGUF, struct.pack("<II", 4, 32), struct.pack("<II", 5, 32)),
    "gguf: five dimensions": weights.gguf(_SMALL, dimensions=5),
    "gguf: a value of unknown type": weights.gguf(_SMALL, more=[weights.gguf_string("k") + struct.pack("<I", 99)]),
    "gguf: no arrays of arrays": weights.gguf(_SMALL, more=[weights.gguf_string("k") + struct.pack("<IIQ", 9, 9, 0)]),
    "gguf: a hole before the first": _replaced(
        _replaced(_GOOD_GGUF, struct.pack("<IQIQ", 1, 60, 30, 128), struct.pack("<IQIQ", 1, 60, 30, 160)),
        struct.pack("<IQIQ", 1, 50, 30, 0),
        struct.pack("<IQIQ", 1, 50, 30, 32),
    )
    + bytes(32),
    "gguf: overlap": _replaced(_GOOD_GGUF, struct.pack("<IQIQ", 1, 60, 30, 128), struct.pack("<IQIQ", 1, 60, 30, 96)),
    "gguf: two at one place": _replaced(
        _GOOD_GGUF, struct.pack("<IQIQ", 1, 60, 30, 128), struct.pack("<IQIQ", 1, 60, 99, 0)
    ),
    "gguf: not aligned": _replaced(
        _GOOD_GGUF, struct.pack("<IQIQ", 1, 60, 30, 128), struct.pack("<IQIQ", 1, 60, 30, 127)
    ),
    "gguf: hole": _replaced(_GOOD_GGUF, struct.pack("<IQIQ", 1, 50, 30, 0), struct.pack("<IQIQ", 1, 5, 30, 0)),
    "gguf: beyond the end": _replaced(
        _GOOD_GGUF, struct.pack("<IQIQ", 1, 60, 30, 128), struct.pack("<IQIQ", 1, 60, 30, 1 << 62)
    ),
    "zip: bytes behind the end": _GOOD_ZIP + b"\0",
    "zip: bytes before the beginning": b"PK\3\4" + _GOOD_ZIP,
    "zip: cut short": _GOOD_ZIP[:-1],
    "zip: no tensors": weights.torch_zip({}),
    "zip: not torch's": weights.torch_zip(_SMALL, pickle="content.xml"),
    "zip: count too small": _replaced(_GOOD_ZIP, struct.pack("<QQ", 4, 4), struct.pack("<QQ", 3, 3)),
    "zip: count too large": _replaced(_GOOD_ZIP, struct.pack("<QQ", 4, 4), struct.pack("<QQ", 5, 5)),
    "zip: a directory too long to read": weights.torch_zip(_SMALL, comment=bytes(33 << 20)),
    "zip: stored size is not the size": _replaced(_GOOD_ZIP, _SIZES, struct.pack("<HHQQ", 1, 24, 120, 121)),
    "zip: beyond the end": _replaced(_GOOD_ZIP, _SIZES, struct.pack("<HHQQ", 1, 24, 1 << 40, 1 << 40)),
    "zip: reaches into the directory": _replaced(_GOOD_ZIP, _SIZES, struct.pack("<HHQQ", 1, 24, 400, 400)),
    "zip: overlap": _replaced(_GOOD_ZIP, struct.pack("<HHQQ", 1, 24, 100, 100), struct.pack("<HHQQ", 1, 24, 200, 200)),
    "zip: sizes left out": _replaced(_GOOD_ZIP, _SIZES, bytes(20)),
    "zip: sizes cut short": _replaced(_GOOD_ZIP, _SIZES, struct.pack("<HHQQ", 1, 16, 120, 120)),
    "zip: sizes that go on too long": _replaced(_GOOD_ZIP, _SIZES, struct.pack("<HHQQ", 1, 4_000, 120, 120)),
    "zip: encrypted": _replaced(
        _GOOD_ZIP, struct.pack("<4sHHHH", b"PK\1\2", 0, 0, 0x808, 0), struct.pack("<4sHHHH", b"PK\1\2", 0, 0, 0x809, 0)
    ),
    "zip: member beyond all files": _replaced(
        _GOOD_ZIP, _SIZES + struct.pack("<Q", _LOCAL), _SIZES + struct.pack("<Q", (1 << 64) - 2)
    ),
    "zip: no entry where one should be": _patched(_GOOD_ZIP, _GOOD_ZIP.index(b"PK\1\2"), b"PK\1\3"),
    "zip: entry beyond the directory": _patched(_GOOD_ZIP, _GOOD_ZIP.rindex(b"PK\1\2") + 32, b"\xff\0"),
    "zip: no member where one should be": _patched(_GOOD_ZIP, _LOCAL, b"PK\3\5"),
    "zip: a name of another length": _patched(_GOOD_ZIP, _LOCAL + 26, b"\1\0"),
    "zip: of another disk": _patched(_GOOD_ZIP, _END + 4, b"\1"),
    "zip: begun on another disk": _patched(_GOOD_ZIP, _END + 6, b"\1"),
    "zip: announces a comment": _patched(_GOOD_ZIP, _END + 20, b"\1"),
    "zip: no end": _patched(_GOOD_ZIP, _END, b"PK\5\7"),
    "zip: the large end lies elsewhere": _patched(_GOOD_ZIP, _LOCATOR + 8, b"\0"),
    "zip: no large end": _patched(_GOOD_ZIP, _END64, b"PK\6\5"),
    "zip: a directory of no entries": _patched(_GOOD_ZIP, _END64 + 32, bytes(8)),
    "zip: a directory of countless entries": _patched(_GOOD_ZIP, _END64 + 32, b"\xff" * 8),
    "zip: a directory that begins early": _patched(_GOOD_ZIP_32, _END + 16, b"\0"),
    "zip: bytes between its ends": _GOOD_ZIP[:_LOCATOR] + bytes(8) + _GOOD_ZIP[_LOCATOR:],
    "zip: shorter than its end": b"PK\3\4" + bytes(10),
    "zip: shorter than its large end": b"PK\3\4" + bytes(30),
    "zip: no version": _replaced(_GOOD_ZIP, b"archive/version", b"archive/elusion"),
    "zip: names of two archives": _replaced(_GOOD_ZIP, b"archive/data/1", b"another/data/1"),
    "nothing": b"",
    "a few bytes": b"GGUF",
    "text": b"hello {" * 100,
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_lie_is_cut_every_mebibyte(lie: str) -> None:
    assert _plan(_LIES[lie]) == _plan(_LIES[lie], "fixed")


def test_the_liars_are_good_without_the_lie() -> None:
    all_dimensions = weights.gguf(_SMALL, dimensions=4, more=[weights.gguf_string("k") + struct.pack("<IIQ", 9, 8, 0)])
    for data in (_GOOD, _GOOD_GGUF, _GOOD_ZIP, _GOOD_ZIP_32, all_dimensions, _padded(_SMALL, 32 << 20)):
        assert tensor.cuts(_reader(data), len(data)) == _expected(data, _SMALL)


def test_as_many_tensors_as_are_allowed() -> None:
    data = weights.safetensors({str(i): b"ab" for i in range(1 << 18)})
    assert len(tensor.cuts(_reader(data), len(data))) == 1 << 18


@pytest.mark.parametrize("good", [_GOOD, _GOOD_GGUF, _GOOD_ZIP], ids=["safetensors", "gguf", "zip"])
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_damaged_headers_do_no_harm(good: bytes, data: st.DataObject) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8), b"\xff" * 4]))
        damaged[at : at + len(patch)] = patch
    _plan(bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))]))


@given(
    head=st.sampled_from([b"GGUF\3\0\0\0", b"GGUF", b"PK\3\4", b"\x10\0\0\0\0\0\0\0{", b""]),
    rest=st.binary(max_size=300),
)
@settings(max_examples=400, deadline=None)
def test_noise_does_no_harm(head: bytes, rest: bytes) -> None:
    _plan(head + rest)


@pytest.mark.parametrize("said", [1 << 20, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("good", [_GOOD, _GOOD_GGUF, _GOOD_ZIP], ids=["safetensors", "gguf", "zip"])
def test_a_file_that_is_shorter_than_it_was(good: bytes, said: int) -> None:
    """Cut between stat and read. Headers of no length lead to endless reading or to a plan of the wrong size."""
    assert tensor.cuts(_reader(good), said) == []


class _Counting:
    """A file of `size` bytes that begins with `head` and repeats `filler`, and how much of it was read."""

    def __init__(self, head: bytes, filler: bytes, size: int) -> None:
        self.head, self.filler, self.size = head, filler, size
        self.largest = self.total = 0

    def __call__(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        self.largest = max(self.largest, length)
        self.total += length
        skipped = max(0, offset - len(self.head)) % len(self.filler)
        repeated = self.filler * (length // len(self.filler) + 2)
        return (self.head[offset:] + repeated[skipped:])[:length]


@pytest.mark.parametrize(
    ("head", "filler"),
    [
        (struct.pack("<Q", 32 << 20) + b"{", b'"data_offsets":[0,0],'),
        (struct.pack("<Q", 32 << 20) + b"{", b'"data_offsets":          '),
        (struct.pack("<Q", 32 << 20) + b"{", b"[" * 64),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + weights.gguf_string("k") + struct.pack("<IIQ", 9, 8, 1 << 60),
            bytes(8),
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 18, 0), bytes(24)),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 16), struct.pack("<QI", 0, 0) + b"\0"),
        (b"PK\3\4", struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 9, 9, 1 << 25, 1 << 29, 0)),
    ],
    ids=["offsets", "spaces", "brackets", "strings", "tensors", "values", "zip"],
)
def test_endless_headers_are_read_within_bounds(head: bytes, filler: bytes) -> None:
    file = _Counting(head, filler, 1 << 30)
    assert tensor.cuts(file, file.size) == []
    assert file.largest <= 32 << 20
    assert file.total <= 66 << 20


def test_errors_of_reading_go_on() -> None:
    def broken(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(chunk.plan(broken, 100, "auto"))


@given(size=st.integers(0, 5 * _MIB))
def test_fixed_plan(size: int) -> None:
    lengths = list(chunk.fixed(size))
    assert sum(lengths) == size
    assert lengths[:-1] == [_MIB] * (len(lengths) - 1)
    assert all(lengths)
