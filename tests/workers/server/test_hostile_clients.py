"""Clients that are slow, greedy, broken or malicious: others are served meanwhile, and the process stays small."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipfsfs.origins.signing import HEADER
from ipfsfs.unixfs import cid
from tests.support.cars import raw
from tests.support.processes import eventually
from tests.support.served import MEBIBYTE, TOKEN, ServedDirectory
from tests.workers.server.conftest import ask

SMALL = random.Random(1).randbytes(2_000)
LARGE = random.Random(2).randbytes(64 * MEBIBYTE)


@pytest.fixture
def server(server: ServedDirectory) -> ServedDirectory:
    server.offer("small", SMALL)
    server.wait_until(blobs=1)
    return server


def connect(server: ServedDirectory) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=30)


def request(target: str = "", extra: str = "", method: str = "GET") -> bytes:
    target = target or f"/ipfs/{cid.to_text(raw(SMALL))}?format=raw"
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


def all_of(connection: socket.socket) -> bytes:
    data = b""
    try:
        while more := connection.recv(1 << 16):
            data += more
    except ConnectionResetError:
        pass
    return data


def status_of(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


def is_served(server: ServedDirectory) -> bool:
    return ask(server, raw(SMALL)).body == SMALL


def memory_of(server: ServedDirectory) -> int:
    """Private bytes of the process."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{server.process_id}/statm").read_text().split())
    return (resident - shared) * 4096


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/ipfs/bafkqaaa?format=raw HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (request(extra="X: " + "y" * 40_000 + "\r\n"), 431),
        (request("/" + "y" * 40_000), 431),
        (request(extra="Content-Length: 5\r\nContent-Length: 6\r\n") + b"12345", 400),
        (request(extra="Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
        (request(extra="Content-Length: 99\r\n") + b"a body", 413),
        (request("/ipfsfs/v1/x", "Content-Length: 99999999\r\n", "POST") + b"a body", 413),
        (request("/ipfsfs/v1/x", "Content-Length: 99999999999999999999999\r\n", "POST"), 400),
        (request("/ipfsfs/v1/x", "Transfer-Encoding: chunked\r\n", "POST") + b"zz\r\n\r\n", 400),
    ],
)
def test_what_is_no_request(server: ServedDirectory, sent: bytes, status: int) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        if status == 404:
            connection.shutdown(socket.SHUT_WR)
        assert status_of(all_of(connection)) == status
    assert is_served(server)


def test_a_body_that_never_ends(server: ServedDirectory) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with connect(server) as connection:
        connection.sendall(request("/ipfsfs/v1/x", "Transfer-Encoding: chunked\r\n", "POST"))
        until = time.monotonic() + 10
        with pytest.raises(ConnectionError):
            _send_until(connection, chunk, until)
        assert time.monotonic() < until
    assert memory_of(server) < 150 << 20
    assert is_served(server)


def _send_until(connection: socket.socket, chunk: bytes, until: float) -> None:
    while time.monotonic() < until:
        connection.sendall(chunk)


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_bodies_of_many_clients_fill_no_memory(serve: Callable[..., ServedDirectory], token: str) -> None:
    """Whoever sends them is not known before they are read, or never."""
    server = serve(token=token)
    server.offer("small", SMALL)
    server.wait_until(blobs=1)
    forged = f"{HEADER}: v1 {int(time.time())} {'0' * 32} {'0' * 64}\r\n" if token else ""
    head = request("/ipfsfs/v1/ask", f"{forged}Content-Length: {MEBIBYTE}\r\n", "POST")
    with ExitStack() as opened:
        clients = []
        for number in range(400):
            client = socket.create_connection((server.host, server.port), 30, (f"127.0.1.{1 + number % 4}", 0))
            opened.enter_context(client).setblocking(False)
            clients.append((client, memoryview(head + bytes(MEBIBYTE - 1))))
        until, most = time.monotonic() + 6, 0
        while clients and time.monotonic() < until:
            clients = [(client, rest) for client, data in clients if (rest := _send_some(client, data))]
            most = max(most, memory_of(server))
        assert most < 200 << 20
        assert ask(server, raw(SMALL), signed_with=token).body == SMALL


def _send_some(client: socket.socket, data: memoryview) -> memoryview:
    try:
        return data[client.send(data) :]
    except BlockingIOError:
        return data
    except OSError:
        return data[:0]


def test_half_requests_and_those_who_go(server: ServedDirectory) -> None:
    for sent in (b"", b"GET", request()[:-2], request("/ipfsfs/v1/x", "Content-Length: 9\r\n", "POST") + b"1"):
        with connect(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert status_of(all_of(connection) or b"x 400 x") == 400
        with connect(server) as connection:  # without a word
            connection.sendall(sent)
    for _ in range(200):
        with connect(server) as connection:
            connection.sendall(request())  # and never takes the answer
    assert is_served(server)


def test_requests_one_behind_the_other(server: ServedDirectory) -> None:
    with connect(server) as connection:
        connection.sendall(request() * 50 + request(extra="Connection: close\r\n"))
        answers = all_of(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 51
    assert answers.count(SMALL) == 51


def test_who_writes_slowly_is_cut_off(server: ServedDirectory) -> None:
    """However steadily: a head may take ten seconds."""
    with connect(server) as connection:
        began = time.monotonic()
        try:
            for byte in request(extra="X: " + "y" * 100 + "\r\n"):
                connection.sendall(bytes((byte,)))
                time.sleep(0.2)
        except ConnectionError:
            pass
        assert all_of(connection) == b""
        assert 9 < time.monotonic() - began < 20
    assert is_served(server)


def test_many_connections_from_one_address(server: ServedDirectory) -> None:
    """Beyond 128 an address is refused at once; when its connections go there is room again."""
    connections = [connect(server) for _ in range(128)]
    try:
        for connection in connections:
            connection.sendall(b"GET / HT")
        eventually(lambda: server.totals()["connections"] == 128, "they are known")
        with connect(server) as another:
            assert status_of(all_of(another)) == 429
    finally:
        for connection in connections:
            connection.close()
    eventually(lambda: server.totals()["connections"] == 0, "they are gone")
    assert is_served(server)


def test_those_who_ask_nothing_make_way(server: ServedDirectory) -> None:
    """From many addresses: the one that was silent for longest goes, those who ask are served."""
    connections = []
    try:
        for number in range(520):
            connection = socket.socket()
            connection.settimeout(30)
            connection.bind((f"127.0.1.{1 + number // 100}", 0))
            connection.connect((server.host, server.port))
            connections.append(connection)
        eventually(lambda: server.totals()["connections"] == 512, "there are as many as may be")
        assert is_served(server)
        assert connections[0].recv(1) == b""
    finally:
        for connection in connections:
            connection.close()


def test_who_takes_no_answer_holds_no_more_than_its_share(server: ServedDirectory) -> None:
    """One address asks for much and reads none of it: it is told to come back, another is served."""
    root = server.offer("large", LARGE)
    server.wait_until(blobs=2)
    leaves = [LARGE[at : at + MEBIBYTE] for at in range(0, len(LARGE), MEBIBYTE)]
    assert ask(server, root).status == 200
    connections = []
    try:
        for leaf in leaves:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.bind(("127.0.1.1", 0))
            connection.connect((server.host, server.port))
            connection.sendall(request(f"/ipfs/{cid.to_text(raw(leaf))}?format=raw"))
            connections.append(connection)
        assert is_served(server)
        eventually(lambda: server.totals()["busy"] > 0, "the rest is told to come back")
        assert memory_of(server) < 250 << 20
        began = time.monotonic()
        eventually(lambda: server.totals()["connections"] <= 41, "who takes nothing is cut off", within_s=40)
        assert time.monotonic() - began > 5
    finally:
        for connection in connections:
            connection.close()
    assert is_served(server)


def test_long_bodies_are_few_at_once(server: ServedDirectory) -> None:
    """Whoever reaches the address can send them: from many connections they would fill the memory."""
    connections = []
    try:
        for number in range(120):
            connection = socket.socket()
            connection.settimeout(30)
            connection.bind((f"127.0.1.{1 + number // 40}", 0))
            connection.connect((server.host, server.port))
            connection.sendall(request("/ipfsfs/v1/x", "Content-Length: 1000000\r\n", "POST") + bytes(900_000))
            connections.append(connection)
        eventually(lambda: server.totals()["busy"] >= 80, "the others are told to come back")
        assert memory_of(server) < 150 << 20
        assert is_served(server)
    finally:
        for connection in connections:
            connection.close()


def test_cars_are_few_at_once(server: ServedDirectory) -> None:
    root = server.offer("large", LARGE)
    server.wait_until(blobs=2)
    connections = []
    try:
        for number in range(12):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.bind((f"127.0.1.{1 + number // 4}", 0))
            connection.connect((server.host, server.port))
            connection.sendall(request(f"/ipfs/{cid.to_text(root)}?format=car"))
            connections.append(connection)
        eventually(lambda: server.totals()["busy"] == 4, "the rest is told to come back")
        assert b"Retry-After: 1" in connections[-1].recv(4096)
        assert is_served(server)
    finally:
        for connection in connections:
            connection.close()


def test_many_at_once_get_the_right_bytes(server: ServedDirectory) -> None:
    server.offer("large", LARGE)
    server.wait_until(blobs=2)
    leaves = [LARGE[at : at + MEBIBYTE] for at in range(0, len(LARGE), MEBIBYTE)]
    wrong: list[int] = []

    def load(number: int) -> None:
        for leaf in random.Random(number).sample(leaves, 16):
            while (got := ask(server, raw(leaf))).status == 429:
                time.sleep(0.05)
            if got.body != leaf:
                wrong.append(got.status)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert memory_of(server) < 250 << 20
