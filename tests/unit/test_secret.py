"""Secrets by content, under whatever name (H36)."""

from __future__ import annotations

import pytest

from ipfsfs.caches.secret import looks_secret

_TOKEN = b"hf_" + b"AbCdEfGhIj" * 3 + b"KLmn"


@pytest.mark.parametrize(
    "data",
    [
        _TOKEN,
        _TOKEN + b"\n",
        b"export HF_TOKEN=" + _TOKEN,
        b'{"token": "' + _TOKEN + b'"}',
        b"[default]\nhf_token = " + _TOKEN + b"\n",
        b"\0\1\2" + _TOKEN + b"\xff",
        b"hf_oauth_eyJhbGciOiJFZERTQSJ9.eyJzY29wZSI6WyJvcGVuaWQiXX0.c2lnbmF0dXJl",
        b"hf_jwt_eyJhbGciOiJFZERTQSJ9.eyJzY29wZSI6WyJvcGVuaWQiXX0",
        b"[default]\nexpires_at = 1\nrefresh_token = 0123456789-abcdefghij_KLM\n",
        b"-----BEGIN PRIVATE KEY-----\nMIIE",
        b"-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE",
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
    ],
)
def test_h36_secret_content(data: bytes) -> None:
    assert looks_secret(data)
    assert looks_secret(b"x" * 60_000 + b"\n" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hf_",
        b"hf_hub_download(repo_id, filename)",
        b"api_key='hf_xxx'",
        b"hf_" + b"a" * 29,
        b"half_hf_" + b"a" * 40,  # part of a longer word
        b"from_hf_" + b"A1" * 20,
        b"def refresh(refresh_token=None): return refresh_token",
        b"-----BEGIN CERTIFICATE-----\nMIIE",
        b"-----BEGIN PUBLIC KEY-----\nMIIE",
        bytes(range(256)) * 100,
        b'{"architectures": ["BertModel"], "hidden_size": 384}',
    ],
)
def test_content_that_is_no_secret(data: bytes) -> None:
    assert not looks_secret(data)
