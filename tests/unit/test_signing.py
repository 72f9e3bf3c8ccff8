"""Signatures between machines: what was asked is what is signed, once, now, with the same token, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipfsfs.errors import UsageError
from ipfsfs.origins.signing import TOO_MANY, WINDOW_S, Asked, Token, Verifier, nonce_of

TOKEN = Token.of("a token of a site, long enough\n")
ASKED = Asked("GET", "/ipfs/b?format=raw", "10.0.0.1:4780", body=b"x")
NOW = 1_800_000_000.0
HOST = "10.0.0.2"


def test_a_signed_request_is_taken_once() -> None:
    verifier, signed = Verifier(TOKEN), TOKEN.sign(ASKED, NOW)
    assert nonce_of(signed.value) == signed.nonce
    assert verifier.refusal(signed.value, ASKED, NOW, HOST) == ""
    assert "before" in verifier.refusal(signed.value, ASKED, NOW, HOST)


def test_who_asks_all_the_time_locks_out_nobody_and_nothing_is_taken_twice() -> None:
    verifier = Verifier(TOKEN, most=100)
    flood = [TOKEN.sign(ASKED, NOW + WINDOW_S - 1).value for _ in range(200)]  # signed so as to be remembered longest
    said = [verifier.refusal(value, ASKED, NOW, "10.0.0.9") for value in flood]
    assert said.count("") == 50
    assert set(said[50:]) == {TOO_MANY}
    hosts = [f"10.0.0.{number}" for number in range(1, 6)]
    taken = [(TOKEN.sign(ASKED, NOW).value, host) for _ in range(5) for host in hosts]
    assert [verifier.refusal(value, ASKED, NOW, host) for value, host in taken] == [""] * 25
    for value, host in [*taken, *((value, "10.0.0.9") for value in flood[:50])]:
        assert "before" in verifier.refusal(value, ASKED, NOW, host)
        assert "before" in verifier.refusal(value, ASKED, NOW, "10.0.0.77")
    later = NOW + 2 * WINDOW_S
    assert verifier.refusal(TOKEN.sign(ASKED, later).value, ASKED, later, "10.0.0.9") == ""


def test_what_was_forgotten_is_not_taken_when_the_clock_is_set_back() -> None:
    verifier, signed = Verifier(TOKEN), TOKEN.sign(ASKED, NOW)
    assert verifier.refusal(signed.value, ASKED, NOW, HOST) == ""
    later = NOW + WINDOW_S + 1
    assert verifier.refusal(TOKEN.sign(ASKED, later).value, ASKED, later, HOST) == ""
    assert "before" in verifier.refusal(signed.value, ASKED, NOW + 1, HOST)


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, method="POST"),
        replace(ASKED, target="/ipfs/c?format=raw"),
        replace(ASKED, host="10.0.0.2:4780"),
        replace(ASKED, only_if_cached=True),
        replace(ASKED, body=b"y"),
    ],
)
def test_what_was_signed_is_good_for_nothing_else(other: Asked) -> None:
    assert "another token" in Verifier(TOKEN).refusal(TOKEN.sign(ASKED, NOW).value, other, NOW, HOST)


def test_another_token_no_signature_and_another_time_are_refused() -> None:
    verifier = Verifier(TOKEN)
    other = Token.of("another token of a site")
    assert "another token" in verifier.refusal(other.sign(ASKED, NOW).value, ASKED, NOW, HOST)
    assert "not signed" in verifier.refusal("", ASKED, NOW, HOST)
    assert "clocks differ" in verifier.refusal(TOKEN.sign(ASKED, NOW).value, ASKED, NOW + WINDOW_S + 1, HOST)
    for value in ("v1", "v2 1 2 3", "v1 " + "9" * 13 + " 0 0", "v1 1 " + "0" * 32 + " " + "é" * 64):
        assert verifier.refusal(value, ASKED, NOW, HOST)


def test_answers_are_signed_for_one_request() -> None:
    signed = TOKEN.sign(ASKED, NOW)
    value = TOKEN.sign_answer(signed.nonce, 200, b"body")
    assert TOKEN.is_answer(value, signed.nonce, 200, b"body")
    assert not TOKEN.is_answer(value, signed.nonce, 412, b"body")
    assert not TOKEN.is_answer(value, signed.nonce, 200, b"other")
    assert not TOKEN.is_answer(value, "0" * 32, 200, b"body")
    assert not Token.of("another token of a site").is_answer(value, signed.nonce, 200, b"body")
    assert not TOKEN.is_answer("", signed.nonce, 200, b"body")


@pytest.mark.parametrize("text", ["", "short", "x" * 5_000, "two\nlines of a token"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Token.of(text)


def test_a_token_is_not_shown() -> None:
    assert "key" not in repr(TOKEN)
