"""What commands and daemons say to each other: every question and answer survives the way, and nothing else does."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs import errors
from ipfsfs.daemon.codec import decode, encode
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.failure import Failure
from ipfsfs.daemon.questions import cid, evict, prefetch, seal, status, umount, verify, why
from ipfsfs.daemon.questions.registry import QUESTIONS
from ipfsfs.errors import BY_NAME, FormatError, IpfsfsError, StoreBusy, StoreError, UsageError
from ipfsfs.exchange.findings import Recorded
from ipfsfs.exchange.overview import Entry, Overview
from ipfsfs.exchange.provenance import Refusal
from ipfsfs.exchange.verify import WrongFile
from ipfsfs.exchange.why import FileIdentity, Leaf, Why
from ipfsfs.store.directory import UnsafePlace
from ipfsfs.store.quarantine import Kept


@dataclass(slots=True, frozen=True)
class Inner:
    number: int
    ratio: float = 0.5


@dataclass(slots=True, frozen=True)
class Everything:
    """A field of each type that can be said."""

    yes: bool
    text: str
    path: bytes
    place: Path
    word: Literal["auto", "fixed"]
    inner: Inner
    many: tuple[Inner, ...]
    listed: list[str]
    named: dict[str, str | int]
    nothing: str | None
    maybe: int | None = None


WHOLE = Everything(
    True,
    "text",
    b"a/\xff\n",
    Path("/x"),
    "auto",
    Inner(1),
    (Inner(2), Inner(3, 1.0)),
    ["a"],
    {"a": 1, "b": "c"},
    None,
)

SAID = [
    WHOLE,
    status.Question(),
    seal.Question(b"hub/\xff"),
    verify.Question((b"", b"a b")),
    why.Question(b"\n"),
    cid.Question(b"x"),
    umount.Question(lazy=True),
    seal.Progress(1, 2, 3, 4, 5),
    seal.Answer(1, 2, 3, 4, 5, seconds=0.25, degraded="", open_for_writing=("a", "b")),
    cid.Answer(None, "fixed", ("a",), 0),
    umount.Answer("/x", 7, 8, over=False, open_files=1, users=("a (process 1) uses /x/y",), places=("/z",), origins=()),
    evict.Question((b"a\xff",), None, dry_run=True),
    evict.Question((), 10**12),
    evict.Progress(1, 2, 3),
    evict.Answer(1, 2, 1, 4, 5, (evict.Named("a", 1, ""),), (evict.Named("b\udcff", 2, "why"),), 7),
    prefetch.Question((b"", b"a")),
    prefetch.Progress(1, 2, 3, 4, 5),
    prefetch.Answer(1, 2, 3, 4, 5, 6, (prefetch.Failed("a", "why"),)),
    verify.Answer(1, 2, 3, 4, (WrongFile("a\udcff", "rot", "detail"),)),
    Why("p", "a directory", sealed=False),
    Why(
        "p",
        "content",
        sealed=True,
        kind="content",
        why="sealed",
        wrong=(Recorded("broken_promise", "p", "detail", "who", 1),),
        identity=FileIdentity(1, 2, 3, 4, 5),
        cid="bafy",
        chunker="auto",
        sha256="",
        leased=True,
        settled=False,
        leaf_count=1,
        leaves=(Leaf("bafk", 1),),
        leaves_not_shown=0,
    ),
    Overview((Entry("model", "n", b"hub/\xff", 1, 2, 3, 4, "part", None),), 5, 6, 7),
    Why("p", "by CID", sealed=False, size=1, here=0, origins=("a",), served=(), refused=(Refusal("a", 1, "no"),)),
    Kept("name", 1, {"path": "x", "when": 1}),
    Kept("name", 1, None),
    Config(Path("/a\udcff"), Path("/b"), allow_other=True, chunker="fixed"),
    Failure("StoreError", "message", "hint"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__module__ + "." + type(said).__name__)
def test_what_is_said_is_what_is_heard(said: Any) -> None:
    assert decode(type(said), json.loads(json.dumps(encode(said)))) == said


def heard(**changed: Any) -> Everything:
    facts = {**encode(WHOLE), **changed}
    return decode(Everything, {name: value for name, value in facts.items() if value is not ...})


@pytest.mark.parametrize(
    "changed",
    [
        {"unknown": 1},
        {"yes": 1},
        {"yes": "true"},
        {"yes": ...},
        {"text": None},
        {"text": b"bytes"},
        {"path": 7},
        {"path": "a\0b"},
        {"path": "\ud800"},
        {"place": "a\0b"},
        {"place": ["a"]},
        {"word": "other"},
        {"word": []},
        {"inner": []},
        {"inner": {"number": True}},
        {"inner": {"number": 1.0}},
        {"inner": {"number": 1, "ratio": float("nan")}},
        {"inner": {"number": 1, "ratio": float("inf")}},
        {"inner": {"number": 1, "other": 1}},
        {"inner": {}},
        {"many": "ab"},
        {"many": {"0": 1}},
        {"many": [1]},
        {"listed": [None]},
        {"named": []},
        {"named": {"a": []}},
        {"nothing": 1},
        {"maybe": "1"},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        heard(**changed)


@pytest.mark.parametrize("value", [None, 1, "text", [], [["yes", True]]], ids=str)
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(FormatError):
        decode(Everything, value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["path", "paths", "lazy", "x"]) | st.text(), inner),
)


@given(ANYTHING, st.sampled_from(list(QUESTIONS.values())))
def test_no_json_does_more_than_be_refused(value: object, question: Any) -> None:
    try:
        found = decode(question, value)
    except FormatError:
        return
    assert decode(question, encode(found)) == found


def test_every_question_is_in_the_table_under_the_name_of_its_command() -> None:
    assert {name: question.__module__.rpartition(".")[2] for name, question in QUESTIONS.items()} == {
        name: name for name in QUESTIONS
    }


def test_every_error_travels_as_what_it_is() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IpfsfsError)]
    assert set(kinds) == set(BY_NAME.values())
    for kind in kinds:
        told = decode(Failure, json.loads(json.dumps(encode(Failure.of(kind("what", hint="do")))))).as_error()
        assert (type(told), str(told), told.hint) == (kind, "what", "do")


def test_an_error_of_one_room_travels_as_the_class_above_it() -> None:
    told = Failure.of(UnsafePlace("what", hint="do")).as_error()
    assert (type(told), told.exit_code) == (StoreError, StoreError.exit_code)


def test_an_error_of_another_version_is_an_error_all_the_same() -> None:
    assert type(Failure("NewError", "what").as_error()) is IpfsfsError
    assert type(Failure("Exception", "what").as_error()) is IpfsfsError


def test_exit_codes_tell_scripts_what_they_can_act_on() -> None:
    assert StoreBusy.exit_code == errors.InUse.exit_code == 3
    assert len({kind.exit_code for kind in (IpfsfsError, UsageError, StoreBusy, errors.IntegrityError)}) == 4
    assert all(kind.exit_code > 0 for kind in BY_NAME.values())


def test_a_configuration_that_is_none_is_refused() -> None:
    for text in ("", "{}", '{"mountpoint": "/a", "store": "/b", "chunker": "other"}'):
        with pytest.raises(UsageError):
            Config.from_json(text)
