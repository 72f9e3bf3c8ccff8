"""Small gateways on loopback that have the blocks a test gives them, and files of several leaves for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.dagpb import Link, Type, Unixfs
from ipfsfs.unixfs.reference import Reference
from tests.support.dags import node, raw


@dataclass(slots=True)
class FileOfLeaves:
    """A file, its `root` and the blocks it is made of: `nodes` besides those of its `leaves`, which are raw."""

    leaves: list[bytes]
    root: bytes = b""
    nodes: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = [len(leaf) for leaf in self.leaves]
        links = [Link(raw(leaf), b"", len(leaf)) for leaf in self.leaves]
        self.root = node(self.nodes, links, Unixfs(Type.FILE, filesize=sum(sizes), blocksizes=sizes))

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self.leaves)

    @property
    def link(self) -> str:
        """The text of a placeholder for it."""
        return reference.text(Reference(self.root, len(self.content))).decode("ascii")

    def blocks(self, *leaves: int) -> dict[bytes, bytes]:
        """Its nodes, and some of its leaves."""
        return {**self.nodes, **{raw(self.leaves[index]): self.leaves[index] for index in leaves}}


@contextmanager
def gateway(blocks: Mapping[bytes, bytes]) -> Iterator[str]:
    """The URL of a gateway that has these blocks, and answers 404 for all others."""
    by_path = {f"/ipfs/{cid.to_text(block_cid)}?format=raw": block for block_cid, block in blocks.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            block = by_path.get(self.path)
            self.send_response(404 if block is None else 200)
            self.send_header("Content-Length", str(len(block or b"")))
            self.end_headers()
            self.wfile.write(block or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
