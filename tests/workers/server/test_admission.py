"""Who is let in, and what those who are not learn."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

import pytest
import trio

from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.signing import HEADER, Asked, Token, Verifier, nonce_of
from ipfsfs.unixfs import cid
from ipfsfs.workers.server.admission import Admission, Refused
from ipfsfs.workers.server.caller import Ends
from ipfsfs.workers.server.request import Request
from tests.support.cars import raw
from tests.support.served import TOKEN, ServedDirectory
from tests.workers.server.conftest import Got, ask, ask_signed

PUBLIC = random.Random(1).randbytes(2_000)
PRIVATE = random.Random(2).randbytes(2_000)
Serve = Callable[..., ServedDirectory]


def _filled(server: ServedDirectory) -> ServedDirectory:
    server.offer("public", PUBLIC)
    server.offer("private", PRIVATE, public=False)
    server.wait_until(blobs=2)
    return server


def _says(got: Got) -> tuple[int, bytes]:
    """All that tells one answer from another."""
    return got.status, got.body


def test_with_a_token_only_machines_of_the_site_are_let_in(serve: Serve) -> None:
    server = _filled(serve(token=TOKEN))
    for data in (PUBLIC, PRIVATE):
        assert ask_signed(server, raw(data)).body == data
    assert ask_signed(server, raw(b"absent")).status == 404
    # Nothing tells what is here from what is not.
    targets: list[bytes | str] = [
        raw(PUBLIC),
        raw(PRIVATE),
        raw(b"absent"),
        "/ipfs/bafkqaaa?format=raw",
        "/ipfsfs/v1/peer",
        "/",
        "/x",
    ]
    assert len({_says(ask(server, target)) for target in targets}) == 1
    assert ask(server, raw(PUBLIC)).status == 401
    assert ask(server, raw(PUBLIC), signed_with="another token that is long").status == 401
    assert ask(server, "/ipfsfs/v1/announce", method="POST", body=b"{}").status == 401
    server.wait_until(refused=len(targets) + 3)


def test_opened_it_gives_anyone_what_is_public_and_hides_the_rest(serve: Serve) -> None:
    server = _filled(serve(token=TOKEN, open=True))
    assert ask(server, raw(PUBLIC)).body == PUBLIC
    assert _says(ask(server, raw(PRIVATE))) == _says(ask(server, raw(b"absent")))
    assert ask(server, raw(PRIVATE), method="HEAD", Cache_Control="only-if-cached").status == 412
    assert ask(server, raw(PRIVATE), If_None_Match="*").status == 404
    assert ask(server, f"/ipfs/{cid.to_text(raw(PRIVATE))}?format=car").status == 404
    assert ask_signed(server, raw(PRIVATE)).body == PRIVATE
    assert ask(server, raw(PUBLIC), signed_with="another token that is long").status == 401


def test_without_a_token_all_are_alike_and_nothing_private_is_given(serve: Serve) -> None:
    server = _filled(serve(share="all"))
    assert ask(server, raw(PUBLIC)).body == PUBLIC
    assert ask(server, raw(PRIVATE)).status == 404


def test_a_cache_in_front_keeps_nothing_that_only_the_site_may_have(serve: Serve) -> None:
    server = _filled(serve(token=TOKEN, open=True))
    assert "public" in ask(server, raw(PUBLIC)).headers["cache-control"]
    assert "Ipfsfs-Auth" in ask(server, raw(PUBLIC)).headers["vary"]
    for target in (raw(PUBLIC), raw(PRIVATE)):
        assert ask_signed(server, target).headers["cache-control"] == "private, no-store"


def test_h52_a_request_counts_once_for_what_it_asks_and_only_now(serve: Serve) -> None:
    server = _filled(serve(token=TOKEN))
    host, target = f"{server.host}:{server.port}", f"/ipfs/{cid.to_text(raw(PUBLIC))}?format=raw"
    value = Token.of(TOKEN).sign(Asked("GET", target, host), time.time()).value
    assert ask(server, target, signature=value).status == 200
    again = ask(server, target, signature=value)
    assert (again.status, b"came before" in again.body) == (401, True)
    value = Token.of(TOKEN).sign(Asked("GET", target, host), time.time()).value
    for other in (
        ask(server, f"/ipfs/{cid.to_text(raw(PRIVATE))}?format=raw", signature=value),
        ask(server, target, method="HEAD", signature=value),
        ask(server, target, Cache_Control="only-if-cached", signature=value),
        ask(server, target, Host="other:1", signature=value),
    ):
        assert other.status == 401
    assert ask(server, target, signature=value).status == 200
    late = ask_signed(server, target, seconds=time.time() - 400)
    assert (late.status, b"clocks differ" in late.body) == (401, True)
    assert ask(server, target, signature="v1 nonsense").status == 401


def test_h52_what_was_signed_for_another_machine_is_not_taken(serve: Serve) -> None:
    """A list or a name service led to a machine without the token, which hands on what it was asked: it would have the
    blocks, and the hashes."""
    server = _filled(serve(token=TOKEN))
    for other in ("10.9.9.9:{}", "127.0.0.2:{}", "127.0.0.1:1", "127.0.0.1", "other.invalid:{}", "[::1]:{}", "x"):
        got = ask(server, raw(PRIVATE), signed_with=TOKEN, Host=other.format(server.port))
        assert (got.status, b"is signed for" in got.body) == (401, True), other
        got = ask(server, "/ipfsfs/v1/peer", signed_with=TOKEN, Host=other.format(server.port))
        assert got.status == 401
    for own in ("127.0.0.1", "localhost", "LOCALHOST", socket.gethostname()):
        assert ask(server, raw(PRIVATE), signed_with=TOKEN, Host=f"{own}:{server.port}").body == PRIVATE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answers_are_signed(serve: Serve, method: str) -> None:
    """Whatever says that it is of the site is: the body of a block is left out, since its CID tells."""
    server = _filled(serve(token=TOKEN))
    token, host = Token.of(TOKEN), f"{server.host}:{server.port}"
    for target in (raw(PUBLIC), raw(b"absent"), "/ipfsfs/v1/nothing", "/ipfs/x"):
        text = f"/ipfs/{cid.to_text(target)}?format=raw" if isinstance(target, bytes) else target
        value = token.sign(Asked(method, text, host), time.time()).value
        got = ask(server, text, method=method, signature=value)
        body = b"" if got.status == 200 else got.body
        assert token.is_answer(got.headers[HEADER.lower()], nonce_of(value), got.status, body)
    assert HEADER.lower() not in ask(server, raw(PUBLIC)).headers


def test_pages_of_the_web_are_not_served(serve: Serve) -> None:
    """A page in a browser on this machine: by its own name that leads here, or by a form that is sent here."""
    server = _filled(serve())
    assert ask(server, raw(PUBLIC), Host="evil.example:80").status == 421
    assert ask(server, raw(PUBLIC), Host="localhost:1").status == 200
    assert ask(server, raw(PUBLIC), Origin="https://evil.example").status == 403
    assert ask(server, "/ipfsfs/v1/announce", method="POST", body=b"{}", Origin="null").status == 403


def test_over_ipv6(serve: Serve) -> None:
    server = serve(host="::1")
    server.offer("public", PUBLIC)
    server.wait_until(blobs=1)
    assert ask(server, raw(PUBLIC), Host=f"[::1]:{server.port}").body == PUBLIC


def test_who_asks_too_much_is_to_wait_and_others_are_let_in() -> None:
    token = Token.of(TOKEN)
    admission = Admission(is_open=False, for_this_machine=False, _verifier=Verifier(token, most=4))

    async def ask_from(host: str) -> int:
        asked = Asked("GET", "/ipfs/b?format=raw", "10.0.0.1:4780")
        headers = {"host": asked.host, HEADER.lower(): token.sign(asked, time.time()).value}
        said = await admission.admit(
            Request(asked.method, asked.target, headers), Ends(host, HostPort("10.0.0.1", 4780))
        )
        return said.status if isinstance(said, Refused) else 200

    async def check() -> None:
        assert [await ask_from("10.0.0.9") for _ in range(4)] == [200, 200, 429, 429]
        assert await ask_from("10.0.0.2") == 200

    trio.run(check)
