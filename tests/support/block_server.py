"""A trustless gateway on loopback that serves blocks from memory, and stops answering when a test says so."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ipfsfs.unixfs import chunk, cid, file, reference
from ipfsfs.unixfs.reference import Reference


@dataclass(slots=True)
class BlockServer:
    """`blocks`: what it has, by the text of the CID. `answers`: cleared while requests are to wait for an answer.
    `is_dead`: whether connections end without an answer. `is_empty`: whether it says that it has nothing. `asked`: the
    CID of each request, in order. `held`: the CIDs whose requests wait for as long as they are in it."""

    url: str = ""
    blocks: dict[str, bytes] = field(default_factory=dict)
    answers: threading.Event = field(default_factory=threading.Event)
    is_dead: bool = False
    is_empty: bool = False
    asked: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    def add(self, data: bytes, mode: int = reference.MODE) -> str:
        """Serve the blocks of a file. Returns the text of a placeholder for it."""
        leaves = []
        at = 0
        for length in chunk.fixed(len(data)) if data else ():
            block = data[at : at + length]
            leaves.append((cid.raw_cid(hashlib.sha256(block).digest()), length))
            self.blocks[cid.to_text(leaves[-1][0])] = block
            at += length
        dag = file.build(leaves)
        for root, block in dag.nodes:
            self.blocks[cid.to_text(root)] = block
        return reference.text(Reference(dag.cid, len(data), mode)).decode("ascii")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has gone meanwhile."""


@contextmanager
def block_server() -> Iterator[BlockServer]:
    """A server for the length of the block."""
    found = BlockServer()
    found.answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.path.removeprefix("/ipfs/").partition("?")[0]
            found.asked.append(wanted)
            found.answers.wait()
            while wanted in found.held:
                time.sleep(0.02)
            if found.is_dead:
                self.close_connection = True
                return
            block = None if found.is_empty else found.blocks.get(wanted)
            self.send_response(404 if block is None else 200)
            self.send_header("Content-Length", str(len(block or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(block or b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield found
        finally:
            found.is_dead = True
            found.held.clear()
            found.answers.set()
            server.shutdown()
            serving.join()
