"""The inputs that `vectors.json` describes by formula, and their import by the pure functions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256, shake_128
from typing import Any

from ipfsfs.unixfs import directory, file
from ipfsfs.unixfs.cid import DAG_PB, codec
from ipfsfs.unixfs.dagpb import NO_METADATA, Metadata
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.profile import Profile

_PIECE = 1 << 20


def profile(name: str, fields: dict[str, Any]) -> Profile:
    return Profile(
        name,
        fields["cidVersion"],
        fields["rawLeaves"],
        fields["chunk"],
        fields["width"],
        fields["shardSplitStrategy"],
        fields["shardSplitThresholdBytes"],
    )


def stream(bytes_: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a file, in pieces of any length."""
    kind, size = bytes_["kind"], bytes_.get("size", 0)
    if kind == "utf8":
        yield bytes_["text"].encode()
    elif kind == "zeros":
        piece = bytes(_PIECE)
        for start in range(0, size, _PIECE):
            yield piece[: size - start]
    elif kind == "mod251":
        yield (bytes(range(251)) * (size // 251 + 1))[:size]
    elif kind == "shake":
        for start in range(0, size, _PIECE):
            seed = f"{bytes_['seed']}:{start // _PIECE}".encode()
            yield shake_128(seed).digest(min(_PIECE, size - start))
    elif kind == "chacha20":
        yield from chacha20(bytes_["seed"], size)
    else:
        raise AssertionError(f"no such kind of input: {kind}")


def chacha20(seed: str, size: int) -> Iterator[bytes]:
    """The first `size` bytes of the ChaCha20 keystream of `seed`. Made by openssl: in Python a GiB takes an hour."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "the vectors of Kubo's own tests need the openssl command (package openssl)"
    command = [openssl, "enc", "-chacha20", "-K", sha256(seed.encode()).hexdigest(), "-iv", "00" * 16, "-nosalt"]
    with (
        subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE) as zeros,
        subprocess.Popen(command, stdin=zeros.stdout, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        made = 0
        while piece := process.stdout.read(_PIECE):
            made += len(piece)
            yield piece
    assert made == size


def rechunked(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    """The same bytes in pieces of `length`, the last one shorter."""
    rest = b""
    for piece in pieces:
        data = rest + piece
        whole = len(data) - len(data) % length
        for start in range(0, whole, length):
            yield data[start : start + length]
        rest = data[whole:]
    if rest:
        yield rest


class Folder(dict[str, Any]):
    """A directory of an input: names to Folders and to inputs that are no directories."""

    metadata: Metadata = NO_METADATA


def tree(node: dict[str, Any]) -> Folder:
    """The directory that an input describes: generated names spelled out, paths split into directories."""
    folder = Folder()
    folder.metadata = _metadata(node)
    for entry in node["entries"]:
        for path, content in _named(entry):
            here = folder
            *parents, name = path.split("/")
            for parent in parents:
                here = here.setdefault(parent, Folder())
            here[name] = tree(content) if content["type"] == "directory" else content
    return folder


def _named(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and contents that one entry of an input stands for."""

    def text(content: str) -> dict[str, Any]:
        return {"type": "file", "bytes": {"kind": "utf8", "text": content}}

    generator = entry.get("gen")
    if generator is None:
        yield entry["name"], entry if entry["type"] != "directory" else {"entries": [], **entry}
    elif generator == "numbered":
        for i in range(entry["from"], entry["to"]):
            name = f"{entry['prefix']}{i:0{entry['width']}}{entry['suffix']}"
            yield name, text(name + "\n" if entry["content"] == "name" else entry["content"])
    elif generator == "seq_files":
        for i in range(entry["from"], entry["to"] + 1):
            yield entry["name"].format(i=i), text(entry["content"].format(i=i))
    elif generator == "kubo_names":
        alphabet = "abcdefghijklmnopqrstuvwxyz01234567890-_"
        letters = iter(b"".join(chacha20(entry["seed"], 1 << 20)))
        for i in range(entry["count"]):
            length = entry["last_len"] if i == entry["count"] - 1 else entry["name_len"]
            yield "".join(alphabet[next(letters) % 39] for _ in range(length)), text(entry["content"])
    else:
        raise AssertionError(f"no such generator: {generator}")


def _metadata(node: dict[str, Any]) -> Metadata:
    mtime = node.get("mtime")
    return Metadata(node.get("mode"), mtime and (mtime["secs"], mtime.get("nsecs", 0)))


@dataclass(slots=True)
class Importer:
    """Imports inputs under one profile. `blocks` are the CIDs of all that was made, `root_block` is the last.

    `nodes` are the blocks that are not raw.
    """

    profile: Profile
    blocks: set[bytes] = field(default_factory=set)
    root_block: bytes = b""
    nodes: dict[bytes, bytes] = field(default_factory=dict)

    def build(self, node: dict[str, Any]) -> tuple[bytes, int]:
        """The CID of an input, and the size of its DAG in bytes."""
        if isinstance(node, Folder):
            return self._directory(node)
        if node["type"] == "directory":
            return self._directory(tree(node))
        if node["type"] == "file":
            return self._file(node["bytes"], _metadata(node))
        cid, self.root_block = file.symlink(node["target"].encode(), self.profile, _metadata(node))
        self.blocks.add(cid)
        self.nodes[cid] = self.root_block
        return cid, len(self.root_block)

    def _file(self, bytes_: dict[str, Any], metadata: Metadata) -> tuple[bytes, int]:
        pieces = rechunked(stream(bytes_), self.profile.chunk)
        piece, following = next(pieces, b""), next(pieces, None)
        cid, self.root_block = self._leaf(piece, metadata if following is None else NO_METADATA)
        leaves = [(cid, len(piece))] if piece else []
        while following is not None:
            if following != piece:  # the large inputs are zeros
                piece = following
                cid = self._leaf(piece, NO_METADATA)[0]
            leaves.append((cid, len(piece)))
            following = next(pieces, None)
        dag = file.build(leaves, self.profile, metadata)
        self.blocks.update(cid for cid, _ in (*leaves, (dag.cid, 0), *dag.nodes))
        self.nodes.update(dag.nodes)
        if dag.nodes:
            self.root_block = dag.nodes[-1][1]
        return dag.cid, dag.tsize

    def _leaf(self, piece: bytes, metadata: Metadata) -> tuple[bytes, bytes]:
        cid, block = file.leaf(piece, self.profile, metadata)
        if codec(cid) == DAG_PB:
            self.nodes[cid] = block
        return cid, block

    def _directory(self, folder: Folder) -> tuple[bytes, int]:
        entries = [Entry(name.encode(), *self.build(node)) for name, node in folder.items()]
        dag = directory.build(entries, self.profile, folder.metadata)
        self.blocks.update(cid for cid, _ in dag.nodes)
        self.nodes.update(dag.nodes)
        self.root_block = dag.nodes[-1][1]
        return dag.cid, dag.tsize
