"""What a request to the gateway asks for: a block or a CAR, of which CID, and from where it may be had."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins import peer_list
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import KINDS
from ipfsfs.origins.peer_messages import RUN, RUN_MOST
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX
from ipfsfs.unixfs.reading import FILE_MAX
from ipfsfs.workers.server.car_walk import SCOPES, Scope, Span, Wanted
from ipfsfs.workers.server.relay import Sought
from ipfsfs.workers.server.request import Request

RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_TYPE: Final = "application/vnd.ipld.car"
HOLDERS_MOST: Final = 8
_NAME: Final = r"[A-Za-z0-9._-]{1,96}"
_HUB: Final = re.compile(rf"([a-z]+)/({_NAME}(?:/{_NAME})?)/([0-9a-f]{{40}})/(.{{1,1024}})")
_BYTES: Final = re.compile(r"(-?[0-9]{1,19}):(-?[0-9]{1,19}|\*)")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


@dataclass(slots=True, frozen=True)
class Run:
    """So many leaves, one after the other, of a file; the first lies at `at`."""

    root: bytes
    at: int
    count: int


@dataclass(slots=True, frozen=True)
class AskedFor:
    """A question for content. `text`: the CID in its usual text, however it was written."""

    cid: bytes
    text: str
    form: Literal["raw", "car"]
    wanted: Wanted
    sought: Sought | None
    run: Run | None

    @property
    def etag(self) -> str:
        """What tells caches that an answer is the same."""
        if self.form == "raw":
            return f'"{self.text}.raw"'
        span, scope = self.wanted.span, self.wanted.scope
        part = "" if span == Span() or scope != "entity" else f".{span.first}-{'' if span.end is None else span.end}"
        return f'W/"{self.text}.car.{scope}{part}.{"y" if self.wanted.duplicates else "n"}"'


def asked_for(request: Request) -> AskedFor:
    """What is asked for. Raises UsageError with why the request makes no sense."""
    text, slash, path = request.path.removeprefix("/ipfs/").partition("/")
    if slash and path:
        raise UsageError("blocks and CARs are given by their CID alone, and not by a path below one")
    try:
        cid = cids.from_text(text)
    except FormatError as error:
        raise UsageError(str(error)) from None
    query = request.query()
    form, parameters = _form(query.get("format"), request.header("accept"))
    wanted = _wanted(cid, query, parameters) if form == "car" else Wanted(cid, "block")
    return AskedFor(cid, cids.to_text(cid), form, wanted, _sought(cid, query), _run(query))


def _form(named: str | None, accept: str) -> tuple[Literal["raw", "car"], dict[str, str]]:
    """The form that the query names, else the first that the header does; with the parameters of the header's."""
    accepted: tuple[Literal["raw", "car"], dict[str, str]] | None = None
    for entry in accept.split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        if kind.lower() == RAW_TYPE and named in (None, "raw"):
            accepted = accepted or ("raw", {})
        elif kind.lower() == CAR_TYPE and named in (None, "car"):
            accepted = accepted or ("car", _parameters(parameters))
    if accepted is not None:
        return accepted
    if named == "raw":
        return "raw", {}
    if named == "car":
        return "car", {}
    raise UsageError("this gateway gives blocks and CARs: ask with ?format=raw or ?format=car")


def _parameters(texts: list[str]) -> dict[str, str]:
    """The parameters of a type in a header."""
    pairs = (text.lower().partition("=") for text in texts)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _wanted(cid: bytes, query: dict[str, str], accepted: dict[str, str]) -> Wanted:
    if query.get("car-version", accepted.get("version", "1")) != "1":
        raise UsageError("CARs of version 1 are given, and no others")
    if query.get("car-order", accepted.get("order", "dfs")) not in ("dfs", "unk"):
        raise UsageError("the order of a CAR can be dfs or unk")
    duplicates = query.get("car-dups", accepted.get("dups", "n"))
    if duplicates not in ("y", "n"):
        raise UsageError("car-dups can be y or n")
    return Wanted(cid, _scope(query), _span(query.get("entity-bytes")), duplicates == "y")


def _scope(query: dict[str, str]) -> Scope:
    named = query.get("dag-scope")
    if named is None:
        return "entity" if "entity-bytes" in query else "all"
    for scope in SCOPES:
        if scope == named:
            return scope
    raise UsageError("dag-scope can be block, entity or all")


def _span(text: str | None) -> Span:
    if text is None:
        return Span()
    found = _BYTES.fullmatch(text)
    if found is None:
        raise UsageError("entity-bytes looks like FROM:TO or FROM:*")
    last = None if found[2] == "*" else int(found[2])
    # Both ends are in it; -1 is the last byte, and what follows that is the end.
    return Span(int(found[1]), None if last in (None, -1) else (last or 0) + 1)


def _sought(cid: bytes, query: dict[str, str]) -> Sought | None:
    """What is to be had for another machine where it is not here; None where the question is not put so."""
    if "root" not in query or "length" not in query:
        return None
    at, length = (_number(query.get(name, "0")) for name in ("at", "length"))
    if at > FILE_MAX or not 0 < length <= BLOCK_MAX:
        raise UsageError("no leaf lies there")
    try:
        root = cids.from_text(query["root"])
    except FormatError as error:
        raise UsageError(str(error)) from None
    holders = peer_list.listed(query["holders"]) if query.get("holders") else ()
    if len(holders) > HOLDERS_MOST:
        raise UsageError(f"at most {HOLDERS_MOST} holders can be named")
    return Sought(cid, root, at, length, holders, _hub(query.get("hub", "")))


def _run(query: dict[str, str]) -> Run | None:
    if RUN not in query or "root" not in query:
        return None
    try:
        return Run(cids.from_text(query["root"]), _number(query.get("at", "0")), min(_number(query[RUN]), RUN_MOST))
    except FormatError as error:
        raise UsageError(str(error)) from None


def _hub(text: str) -> HubFile | None:
    if not text:
        return None
    found = _HUB.fullmatch(text)
    if found is None or found[1] not in KINDS or ".." in found[4].split("/") or not found[4].isprintable():
        raise UsageError("hub looks like KIND/NAME/COMMIT/PATH")
    return HubFile(found[1], found[2], found[3], found[4])


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise UsageError("a number is none")
    return int(text)
