"""What machines say to each other in JSON: what is encoded is understood, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.origins import peer_messages
from ipfsfs.origins.peer_messages import About, Announced, Announcement, Found, Held, Message, Question, Wish
from ipfsfs.unixfs import cid

ID = "0123456789abcdef" * 2
SHA256 = bytes(range(32))
ROOT = cid.dag_pb_cid(SHA256)
MESSAGES: list[Announcement | Question | Wish | About] = [
    Announcement(ID, 4780, (Announced(SHA256, ROOT, 5, True), Announced(bytes(32), cid.raw_cid(SHA256), 0, False))),
    Question(ID, (SHA256, bytes(32))),
    Wish(ID, 4780, ((SHA256, -1),), ((bytes(32), 77),), (SHA256,), False, ((SHA256, "10.0.0.1:1"),), "[fd00::1]:4780"),
    Wish(ID, 0),
    About(ID, "0.1.0", "public", 1, 2, 3, 4, 5, "00ff"),
]
READ: list[Callable[[Message], object]] = [Announcement.of, Question.of, Wish.of, About.of]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_said_is_understood(message: Announcement | Question | Wish | About) -> None:
    assert type(message).of(peer_messages.decode(peer_messages.encode(message.message()))) == message


def test_an_answer_tells_of_what_was_asked_alone() -> None:
    found = {SHA256: Found(ROOT, 5, ("10.0.0.1:1", "[fd00::1]:2"), False)}
    held = {SHA256: Held("10.0.0.1:1", 7, 100.0, 1.5)}
    said = {"found": peer_messages.found_message(found), "held": peer_messages.held_message(held)}
    said = peer_messages.decode(peer_messages.encode(said))
    assert peer_messages.found_in(said, [SHA256, bytes(32)]) == found
    assert peer_messages.held_in(said, "held", [SHA256]) == held
    assert peer_messages.found_in(said, [bytes(32)]) == {}
    assert peer_messages.granted_in({"granted": [SHA256.hex()]}, [bytes(32)]) == set()


GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.just(SHA256.hex())
    | st.just(ID),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["id", "port", "blobs", "want", "hold", "release", "gone", "for", "first", "found", "version", "listed", "gave"]


@given(st.dictionaries(st.sampled_from(NAMES), GARBAGE, max_size=8), st.booleans())
def test_garbage_is_a_message_or_refused(said: dict[str, Any], named: bool) -> None:
    """Whatever comes: an object with values in their bounds, or FormatError; nothing else is ever raised."""
    text = json.dumps({**said, "id": ID} if named else said).encode()
    try:
        decoded = peer_messages.decode(text)
    except FormatError:
        return
    for read in READ:
        try:
            read(decoded)
        except FormatError:
            continue
    for of in (peer_messages.found_in, lambda said, asked: peer_messages.held_in(said, "found", asked)):
        try:
            of(decoded, [SHA256])
        except FormatError:
            continue


@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused(text: bytes) -> None:
    try:
        said = peer_messages.decode(text)
    except FormatError:
        return
    assert isinstance(said, dict)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"id": NaN}',
        b'{"id": Infinity}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"id":"' + b"9" * (1 << 20) + b'"}',
        b'{"id":' + b"9" * 5_000 + b"}",
        "{'id': 1}".encode("utf-16"),
    ],
)
def test_hostile_json_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(FormatError):
        peer_messages.decode(text)


@pytest.mark.parametrize(
    "said",
    [
        {"id": ID, "port": 65_536},
        {"id": ID, "port": -1},
        {"id": ID, "port": True},
        {"id": ID.upper()},
        {"id": ID + "\n"},
        {"id": ID, "want": [[SHA256.hex(), -2]]},
        {"id": ID, "want": [[SHA256.hex(), 1 << 63]]},
        {"id": ID, "want": [[SHA256.hex()]]},
        {"id": ID, "want": [[SHA256.hex()[:-1] + "g", 1]]},
        {"id": ID, "want": [[SHA256.hex(), 1]] * 4_097},
        {"id": ID, "hold": [[SHA256.hex(), 1.5]]},
        {"id": ID, "release": SHA256.hex()},
        {"id": ID, "first": 1},
        {"id": ID, "gone": [[SHA256.hex(), "http://10.0.0.1:1/"]]},
        {"id": ID, "for": "10.0.0.1"},
        {"id": ID, "for": "user@10.0.0.1:1"},
        {"id": ID, "for": "10.0.0.1:1 "},
    ],
)
def test_wishes_that_make_no_sense_are_refused(said: Message) -> None:
    with pytest.raises(FormatError):
        Wish.of(said)


@pytest.mark.parametrize(
    "blob",
    [
        [SHA256.hex(), "bafkqaaa", 0, True],  # an identity CID is no file's
        [SHA256.hex(), cid.to_text(ROOT), 0],
        [SHA256.hex(), cid.to_text(ROOT), "0", True],
        [SHA256.hex(), cid.to_text(ROOT), 0, "true"],
        [SHA256.hex(), None, 0, True],
        {},
    ],
)
def test_announced_blobs_that_make_no_sense_are_refused(blob: object) -> None:
    with pytest.raises(FormatError):
        Announcement.of({"id": ID, "port": 1, "blobs": [blob]})
