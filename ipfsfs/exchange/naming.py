"""What a user names content by: a CID, an address of it, or a name that a node resolves (IPNS)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ipfsfs.errors import FormatError, OriginError, UsageError
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.printed import printable
from ipfsfs.unixfs import cid as cids

if TYPE_CHECKING:
    from ipfsfs.origins.origin import Origin

_IPFS: Final = ("ipfs://", "/ipfs/")
_IPNS: Final = ("ipns://", "/ipns/")
_SHORTEST_CID: Final = 46
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(slots=True, frozen=True)
class ContentName:
    """`text`: a CID, or an IPNS name. `below`: names on the way from there, with "/" between; empty for all of it."""

    kind: Literal["ipfs", "ipns"]
    text: str
    below: str = ""

    @property
    def shown(self) -> str:
        """As an address, in one line."""
        return printable(f"/{self.kind}/{self.text}" + (f"/{self.below}" if self.below else ""))


def parse(text: str) -> ContentName | None:
    """What a text names: None for one that is no address and no CID, which may be a path.

    Raises UsageError for an address with no CID where one must be.
    """
    for prefix in (*_IPFS, *_IPNS):
        if text.startswith(prefix):
            first, _, below = text[len(prefix) :].partition("/")
            below = "/".join(part for part in below.split("/") if part)
            if prefix in _IPFS:
                _cid(first)
            elif not _NAME.fullmatch(first):
                raise UsageError(f"no name to resolve: {text[:80]!r}", hint="They look like /ipns/k51...")
            return ContentName("ipfs" if prefix in _IPFS else "ipns", first, below)
    if "/" in text or len(text) < _SHORTEST_CID:
        return None
    try:
        cids.from_text(text)
    except FormatError:
        return None
    return ContentName("ipfs", text)


def parse_content(text: str) -> ContentName:
    """The same, for where no path may be: CID/PATH is an address too. Raises UsageError."""
    found = parse(text)
    if found is None:
        _cid(text.partition("/")[0])
    return found or parse(_IPFS[1] + text) or ContentName("ipfs", text)


async def root(name: ContentName, nodes: Sequence[OriginSettings]) -> bytes:
    """The CID that the first part of a name stands for. An IPNS name is resolved by the first node that can.

    Raises UsageError where no node is known, OriginError.
    """
    if name.kind == "ipfs":
        return _cid(name.text)
    if not nodes:
        raise UsageError(
            f"no IPNS name can be resolved without an IPFS node: {name.shown}",
            hint="Mount the view with --kubo URL, or name the CID itself.",
        )
    # Here: what a text names is asked by commands that speak with no origin.
    from ipfsfs.origins.registry import open_publisher

    said: list[OriginError] = []
    for settings in nodes:
        node = open_publisher(settings)
        try:
            return await node.resolve_name(name.text)
        except OriginError as error:
            said.append(error)
        finally:
            await node.aclose()
    raise type(said[-1])("; ".join(map(str, said)), hint=said[-1].hint)


async def resolved(name: ContentName, nodes: Sequence[OriginSettings], origin: Origin) -> bytes:
    """The CID of what a name means. Raises UsageError, OriginError, FormatError."""
    found = await root(name, nodes)
    if cids.unixfs_codec(found) is None:
        raise UsageError(f"{cids.to_text(found)} is no file or directory: its CID is of another kind of data")
    if not name.below:
        return found
    from ipfsfs.origins import dag

    return await dag.below(origin, found, os.fsencode(name.below))


def _cid(text: str) -> bytes:
    try:
        return cids.from_text(text)
    except FormatError as error:
        raise UsageError(f"not a CID: {printable(text[:80])}", hint=error.hint) from error
