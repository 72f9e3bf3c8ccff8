"""Whether a file's bytes give a secret away, whatever its name is (`cp token notes.txt`)."""

from __future__ import annotations

import re

SEARCH_MAX = 64 << 10
"""Files up to this size (bytes) are searched before anything of them is hashed; larger ones are not searched."""

_SECRET = re.compile(
    rb"(?<![A-Za-z0-9_])hf_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[A-Za-z0-9._-]{20,})"
    rb"|(?m:^)[ \t]*refresh_token[ \t]*[=:][ \t]*[A-Za-z0-9._~+/-]{20,}"
    rb"|-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
)


def looks_secret(data: bytes) -> bool:
    """Whether `data` holds a token of the Hub (access, OAuth, refresh) or a private key in PEM."""
    return _SECRET.search(data) is not None
