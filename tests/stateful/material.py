"""What the rules draw from: names, contents, and what else a call takes."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from hypothesis import strategies as st

from tests.stateful.side import content

COMMIT: Final = b"0123456789abcdef0123456789abcdef01234567"
DOWNLOADED: Final = [(1, 0), (2, 5_000), (3, 131_072), (4, 300_001)]
"""Seed and length of what is downloaded."""
DOWNLOADS: Final = [content(seed, length) for seed, length in DOWNLOADED]
PROMISED: Final = [b"blobs/" + hashlib.sha256(data).hexdigest().encode() for data in DOWNLOADS]
SKELETON: Final = [b"d/e", b"blobs", b"snapshots/" + COMMIT, b"refs"]
FURNITURE: Final = [(b"a", 11, 70_000), (b"d/a", 12, 300_000), (b"d/e/a", 13, 10), (b"token", 14, 40)]
NAMES: Final = [
    b"a",
    b"b",
    b"c.lock",
    b"token",
    b"odd\xff\n\t 'name\\",
    b"n" * 255,
    b"d",
    b"d/a",
    b"d/b",
    b"d/e",
    b"d/e/a",
    b"d/e/f",
    b"d/e/f/a",
    b"m",
    b"m/a",
    b"m/e",
    b"refs/main",
    b"blobs/1.incomplete",
    b"blobs/small",
    b"snapshots/" + COMMIT + b"/model.safetensors",
    b"snapshots/" + COMMIT + b"/config.json",
]
TARGETS: Final = [
    b"a",
    b"../a",
    b"d",
    b"d/a",
    b"e/a",
    b".",
    b"..",
    b"b",
    b"../d/e",
    b"nowhere/at/all",
    b"/proc/self/status",
    b"x" * 4_000,
    b"../../" + PROMISED[1],
    b"../../" + PROMISED[3],
    b"model.safetensors",
]

_OFTEN: Final = [b"a", b"b", b"d/a", b"d/b", b"d/e/a"]
names = st.sampled_from(NAMES + PROMISED + 8 * (_OFTEN + PROMISED[3:]))
free_names = st.sampled_from(NAMES + 8 * _OFTEN)
"""Names that promise nothing: what is renamed or linked to a promised name without being what it promises is taken away
(H23), which plain disk does not do."""
sizes = st.one_of(
    st.sampled_from([0, 1, 4_095, 4_096, 4_097, 131_071, 131_072, 131_073, 262_144, 400_000]), st.integers(0, 300_000)
)
lengths = st.one_of(st.sampled_from([0, 1, 100, 4_096, 70_000]), st.integers(0, 140_000))
seeds = st.integers(10, 30)
modes = st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o000, 0o666, 0o1777])
umasks = st.sampled_from([0o022, 0, 0o077, 0o002])
owners = st.sampled_from([-1, 0, 1000, 65_534])
times = st.one_of(
    st.sampled_from([0, 1, 999_999_999, 1_700_000_000_123_456_789]), st.integers(0, 4_000_000_000_000_000_000)
)
xattr_names = st.sampled_from(["user.a", "user.b", "user." + "n" * 250, "trusted.t"])
xattr_values = st.sampled_from([b"", b"value", b"\0\xff" * 50])
slots = st.integers(0, 3)
access_modes = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
