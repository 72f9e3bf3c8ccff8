"""What fuzzing begins from, for each target: bytes that mean something. What was found once lies in `found/TARGET/`."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path
from typing import Final

from ipfsfs.unixfs import car, cid, dagpb, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher import table
from tests.support import weights

_FOUND: Final = Path(__file__).with_name("found")
_TENSORS: Final = {"a": b"\1\2" * 50, "b": b"\3\4" * 60}
_LEAF: Final = cid.raw_cid(sha256(b"leaf").digest())
_ROOT: Final = cid.dag_pb_cid(bytes(32))
_TEXT: Final = cid.to_text(_LEAF)
_LINK: Final = dagpb.encode_link(cid.raw_cid(bytes(32)), b"name", 12)
_PIN: Final = {
    "requestid": "1", "status": "pinned", "created": "2026-01-01T00:00:00Z", "delegates": ["/ip4/127.0.0.1/tcp/1"],
    "pin": {"cid": _TEXT, "name": "n"}, "info": {"status_details": "CANARY"},
}  # fmt: skip
_PEERS: Final = {"cid": _TEXT, "name": "n", "peer_map": {"peer": {"status": "pin_error", "error": "CANARY"}}}
_LISTED: Final = {"lfs_sha256": "a" * 64, "size": 3, "blob_id": "b"}
_GET: Final = b"GET /ipfs/" + _TEXT.encode()
_HOST: Final = b" HTTP/1.1\r\nHost: h\r\n"
_OK: Final = b"HTTP/1.1 200 OK\r\n"

_SEEDS: Final[dict[str, list[bytes]]] = {
    "tensor": [weights.safetensors(_TENSORS), weights.gguf(_TENSORS), weights.torch_zip(_TENSORS)],
    "dag": [
        dagpb.encode_node([_LINK, _LINK], dagpb.encode_unixfs(dagpb.Unixfs(dagpb.Type.FILE, None, 24, [12, 12]))),
        dagpb.encode_unixfs(dagpb.Unixfs(dagpb.Type.SYMLINK, b"target")),
    ],
    "tree": [b"\1\1\2\1a\0\0\0\1\2\0\3abc\0\0\0\1\1\0\2ab\0\0\0", bytes(range(200)), b"\x65" * 60],
    "car": [b"\x07" + car.header([_LEAF]) + car.frame(_LEAF, b"leaf"), car.header([]) + b"\0", b"\x0a\xa2\x65roots"],
    "placeholder": [reference.text(Reference(_LEAF, 4)), reference.text(Reference(_ROOT, 9, 0o600, 7))],
    "name": [
        _TEXT.encode(), b"/ipfs/" + _TEXT.encode() + b"/a/../b", b"ipns://k51x/a", b"Qm" + b"1" * 44, b"\xff" * 9,
        _LEAF,
    ],
    "leaves": [table.pack(0, 4, _LEAF) + table.pack(4, 1 << 20, _LEAF), b"\0" * 45],
    "pipe": [struct.pack(">II", 9, 3) + b'{"id": 1}abc', struct.pack(">II", 200_000, 0) + b"[" * 200_000],
    "question": [b'{"command": "seal", "path": "x"}\n', b"[]\n", b"[" * 5000 + b"\n"],
    "mountinfo": [b"tmp/a b\\040\tc\n"],
    "settings": [
        b'kubo = ["http://127.0.0.1:1"]\npatience = 3\n[view."/x"]\nmetrics = "unix:///m"\ncache_size = "2GB"\n',
        b'[service.x]\nurl = "https://x"\n[cluster]\nurl = 3\n', b"a = " + b"[" * 2_000,
    ],
    "address": [b"http://127.0.0.1:5001/x", b"unix:///run/api", b"https://[::1]:80", b"h:p", b"http://u:p@h?k#f"],
    "exporter": [b"GET /metrics HTTP/1.1\r\nHost: localhost:1\r\n\r\n", b"HEAD / HTTP/1.0\r\n\r\n", b"POST x\r\n\r\n"],
    "server": [
        _GET + b"?format=raw" + _HOST + b"Cache-Control: only-if-cached\r\n\r\n",
        (_GET + b"?format=car&dag-scope=entity&entity-bytes=0:-1" + _HOST + b"\r\n") * 3,
        b"HEAD /ipfs/bafkqaaa" + _HOST + b"Accept: application/vnd.ipld.car; dups=y, */*\r\n\r\n",
        _GET + b"?format=raw&root=bafkqaaa&at=0&length=4&holders=h:1,[::1]:2&hub=models/a/b/" + b"a" * 40 + b"/c%20d"
        + _HOST + b"Ipfsfs-Auth: v1 1 " + b"a" * 32 + b" b\r\n\r\n",
        b"POST /ipfsfs/v1/ask" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    "http": [
        _OK + b"Content-Length: 5\r\n\r\nhello",
        _OK + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX-Stream-Error: CANARY\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://CANARY.example/x\r\nRetry-After: 5\r\n\r\n",
        b"HTTP/1.1 CANARY\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 9, _OK + b"CANARY\r\n\r\n",
    ],
    "kubo": [
        b'{"Message":"ipld: could not find CANARY","Code":0,"Type":"error"}',
        b'{"Root":{"Cid":{"/":"x"},"PinErrorMsg":"CANARY"}}\n{"Stats":{"BlockCount":3,"BlockBytesCount":90}}\n',
        b'{"Key":"CANARY","Path":"/ipfs/x","Progress":-1}', b"[CANARY]", b"[" * 5_000,
    ],
    "keepers": [
        json.dumps({"count": 1, "results": [_PIN]}).encode(), json.dumps(_PEERS).encode() * 2,
        b'{"error":{"reason":"CANARY","details":"Bearer CANARY"}}', b'{"message":"CANARY","code":401}', b"[" * 5_000,
    ],
    "hub": [
        b'{"private": false, "gated": "auto"}', b"bytes 0-9/10\n10", b"https://CANARY.example/x?sig=1\n",
        b"http://hub.example/x", b"//other/x", b"https://u:p@hub.example/", b"https://hub.example:443/a",
    ],
    "router": [
        json.dumps({"Schema": "peer", "ID": "1", "Addrs": ["/ip4/1.2.3.4/tcp/80/http", "/dns4/a/tcp/443/tls/http"]})
        .encode() + b"\n" + json.dumps({"Addrs": ["/ip6/64:ff9b::1/tcp/8080/https/p2p/12D3"]}).encode(),
        json.dumps({"Providers": [{"Addrs": ["/dns/localhost/tcp/1/http", 5]}, 7, None]}).encode(),
    ],
    "listing": [
        json.dumps({"format_version": 1, "files": {"a/b.bin": _LISTED}}).encode(),
        b'{"format_version": 1, "files": {"../\\ud800": {"lfs_sha256": "' + b"a" * 64 + b'", "size": 1e400}}}', b"[]",
    ],
}  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """What a target begins from, and what it failed on once."""
    found = sorted((_FOUND / target).iterdir()) if (_FOUND / target).is_dir() else []
    return [*_SEEDS[target], *(path.read_bytes() for path in found)]
