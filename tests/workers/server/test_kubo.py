"""A stock Kubo fetches from our server over HTTP: a router tells it where, and no second copy is made here."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from tests.support.kubo_node import KuboNode
from tests.support.processes import eventually
from tests.support.served import MEBIBYTE, ServedDirectory

pytestmark = pytest.mark.kubo

DATA = random.Random(7).randbytes(24 * MEBIBYTE + 1_234)
_PEER = "12D3KooWPA6ax6t3jqTyGq73Zm1RmwppYqxaXzrtarfcTWGp5Wzx"
"""Some identity: over HTTP nobody is asked to prove it."""


@contextmanager
def router(port: int) -> Iterator[str]:
    """The URL of a delegated router by which our server has everything."""
    record = {
        "Schema": "peer",
        "ID": _PEER,
        "Addrs": [f"/ip4/127.0.0.1/tcp/{port}/http"],
        "Protocols": ["transport-ipfs-gateway-http"],
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = self.path.startswith("/routing/v1/providers/")
            body = json.dumps(record).encode() + b"\n" if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_stock_kubo_fetches_a_file(server: ServedDirectory, tmp_path: Path) -> None:
    root = server.offer("model", DATA)
    server.wait_until(blobs=1)
    with router(server.port) as url:
        settings: dict[str, object] = {
            "Routing.Type": "delegated",
            "Routing.DelegatedRouters": [url],
            "HTTPRetrieval.Enabled": True,
        }
        node = KuboNode(tmp_path, settings)
        try:
            node.start()
            assert node.ask_for_bytes("cat", f"/ipfs/{cid.to_text(root)}") == DATA
        finally:
            node.close()
    eventually(lambda: server.totals()["gave_bytes"] >= len(DATA), "all of it came from us")
    assert server.totals()["gave_blocks"] >= 26
