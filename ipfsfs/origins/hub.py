"""The Hub of Hugging Face: whether a repository is public.

The API is that of huggingface_hub 2.4 (`HfApi.repo_info`): `GET /api/{kind}/{name}/revision/{revision}` answers with
`private` and `gated`, which is false, "auto" or "manual". Without a token a private repository answers 401 or 404.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ipfsfs.errors import OriginError
from ipfsfs.origins import address
from ipfsfs.origins.http import Client
from ipfsfs.origins.message import Request
from ipfsfs.printed import printable

_ANSWER_MOST: Final = 12 << 20
"""Bytes: a repository of 100,000 files answers with some 10 MB, which list them all. What is made of JSON takes up to
21 times its bytes of memory."""
_SHOWN: Final = 200
_NOT_PUBLIC: Final = (401, 403, 404)


@dataclass(slots=True, frozen=True)
class Hub:
    """The Hub at an endpoint, asked without a token."""

    endpoint: str

    async def is_public(self, kind: str, name: str, revision: str) -> bool:
        """Whether anyone can have a revision of a repository. `kind`: models, datasets, spaces.

        Raises UsageError for an endpoint that is no URL, Unreachable, and OriginError for an answer that makes no
        sense.
        """
        at = address.parse(self.endpoint)
        client = Client(f"hub {at.shown}", at)
        target = f"/api/{quote(kind)}/{quote(name)}/revision/{quote(revision, safe='')}"
        try:
            answer = await client.ask(Request("GET", target, redirects=3), _ANSWER_MOST)
        finally:
            await client.aclose()
        if answer.head.status in _NOT_PUBLIC:
            return False
        if answer.head.status != 200:
            raise OriginError(f"{at.shown} answers with status {answer.head.status}")
        return says_public(at.shown, answer.body)


def says_public(hub: str, answer: bytes) -> bool:
    """Whether the answer of a Hub says that a repository is public. Raises OriginError where it says nothing of it."""
    try:
        said = json.loads(answer)
        return said["private"] is False and said["gated"] is False
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OriginError(f"{hub} answers with what makes no sense: {printable(str(error)[:_SHOWN])}") from error
