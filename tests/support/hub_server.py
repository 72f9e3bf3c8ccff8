"""The local Hub's process: `python -m tests.support.hub_server DIR [ADDRESS]` serves DIR (see `hub_storage`) on two
ports of an address, by default of this machine alone.

The first port is the Hub, the second the "other origin" that real LFS content is redirected to: a client that is
redirected within one origin loses the headers. Prints both as one line of JSON, serves until its stdin closes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.support.hub_limits import Limits
from tests.support.hub_storage import HubStorage, RepoKey, StoredFile

KINDS = ("models", "datasets", "spaces")
CREATED = "2026-01-01T00:00:00.000Z"


@dataclass(slots=True)
class Fault:
    """What is wrong with the content of one file. `times` counts the responses still to be spoilt; None is for ever."""

    flip: int | None = None  # the offset of a byte sent wrong; the size stays right
    cut_after: int | None = None  # bytes of the body after which the connection is closed
    rate: int | None = None  # bytes per second
    times: int | None = None


class Hub:
    """State the two servers share."""

    def __init__(self, storage: HubStorage) -> None:
        self.storage = storage
        self.content_port = 0
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.faults: dict[str, Fault] = {}
        self.sent: Counter[tuple[str, str]] = Counter()  # bytes of content, by the client's address and the file's name
        self.limits = Limits()

    def count(self, client: str, name: str, sent: int) -> None:
        """Bytes of content have gone."""
        with self.lock:
            self.sent[client, name] += sent

    def take_fault(self, name: str, start: int, stop: int) -> Fault | None:
        """The fault that spoils this response for bytes [start, stop) of the file, counted down."""
        with self.lock:
            fault = self.faults.get(name)
            if fault is None or fault.times == 0:
                return None
            if fault.flip is not None and not start <= fault.flip < stop:
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, handler: type[BaseHTTPRequestHandler], address: str) -> None:
        self.hub = hub
        super().__init__((address, 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is part of many tests; anything else is a fault of this server and fails them.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are recorded in `Hub.requests` instead."""

    def record(self, name: str, status: int, sent: int) -> None:
        with self.server.hub.lock:
            self.server.hub.requests.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "name": name,
                    "range": self.headers.get("Range"),
                    "authorization": self.headers.get("Authorization"),
                    "port": self.server.server_address[1],
                    "client": self.client_address[0],
                    "status": status,
                    "sent": sent,
                }
            )

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.record(name, status, 0 if self.command == "HEAD" else len(body))

    def answer_json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def refuse(self, code: str, commit: str | None = None, status: int = HTTPStatus.NOT_FOUND) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        if commit:
            headers["X-Repo-Commit"] = commit
        self.answer(status, json.dumps({"error": code}).encode(), headers)

    def send_content(self, path: Path, file: StoredFile, name: str, headers: dict[str, str]) -> None:
        start, stop = 0, file.size
        status = HTTPStatus.OK
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else file.size - int(last)
            stop = min(int(last) + 1, file.size) if first and last else file.size
            if start >= file.size:
                self.answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", name=name)
                return
            status = HTTPStatus.PARTIAL_CONTENT
            headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
        if self.command == "HEAD":
            self.answer(status, b"", headers, name)
            return
        fault = self.server.hub.take_fault(name, start, stop)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        end = stop if fault is None or fault.cut_after is None else min(stop, start + fault.cut_after)
        sent = 0
        try:
            with path.open("rb") as source:
                if fault is not None and fault.flip is not None:
                    sent += self.send_range(source.fileno(), start, fault.flip, fault, name)
                    self.wfile.write(bytes([os.pread(source.fileno(), 1, fault.flip)[0] ^ 1]))
                    sent += 1 + self.send_range(source.fileno(), fault.flip + 1, end, fault, name)
                else:
                    sent += self.send_range(source.fileno(), start, end, fault, name)
        finally:
            self.record(name, status, sent)
        if end < stop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_range(self, source: int, start: int, stop: int, fault: Fault | None, name: str) -> int:
        client = self.client_address[0]
        rate = fault.rate if fault else None
        offset = start
        while offset < stop:
            paces = self.server.hub.limits.paces(client)
            most = rate // 20 if rate else min((int(pace.rate) // 50 for pace in paces), default=1 << 30)
            most = max(1, min(most, stop - offset))
            for pace in paces:
                pace.wait(most)
            # sendfile keeps this Python process out of a benchmark's way.
            sent = os.sendfile(self.connection.fileno(), source, offset, most)
            self.server.hub.count(client, name, sent)
            offset += sent
            if rate:
                time.sleep(0.05)
        return offset - start


class ContentHandler(Handler):
    """The other origin: `/{kind}/{ns}/{name}/{commit}/{path}`."""

    def do_GET(self) -> None:
        kind, namespace, name, commit, path = unquote(urlsplit(self.path).path)[1:].split("/", 4)
        key = RepoKey(kind, f"{namespace}/{name}")
        if self.server.hub.storage.resolve(key, commit) is None:
            self.refuse("RevisionNotFound")  # what a redirect said is over
            return
        file = self.server.hub.storage.files(key, commit)[path]
        self.send_content(
            self.server.hub.storage.object_path(file), file, f"{key.kind}/{key.name}/{path}", {"ETag": f'"{file.etag}"'}
        )

    do_HEAD = do_GET


class HubHandler(Handler):
    """The Hub itself: `/api/...`, `/{ns}/{name}/resolve/{rev}/{path}`, and `/_test/...` for the tests' own use."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path[1:].split("/")]
        if parts[0] == "_test":
            with self.server.hub.lock:
                sent = [[client, name, count] for (client, name), count in self.server.hub.sent.items()]
                body = json.dumps(sent if parts[1] == "sent" else self.server.hub.requests).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif parts[:2] == ["api", "whoami-v2"]:
            self.whoami()
        elif parts[:2] == ["api", "agent-harnesses"]:
            self.answer_json({"standardEnvVars": [], "harnesses": {}})
        elif parts[0] == "api" and len(parts) >= 4 and parts[1] in KINDS:
            self.repo_api(RepoKey(parts[1], f"{parts[2]}/{parts[3]}"), parts[4:], parse_qs(url.query))
        else:
            kind = parts.pop(0) if parts[0] in KINDS else "models"
            if len(parts) >= 5 and parts[2] == "resolve":
                self.resolve(RepoKey(kind, f"{parts[0]}/{parts[1]}"), parts[3], "/".join(parts[4:]))
            else:
                self.refuse("EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = [unquote(part) for part in urlsplit(self.path).path[1:].split("/")]
        if parts == ["_test", "fault"]:
            fault = json.loads(body)
            with self.server.hub.lock:
                self.server.hub.faults[fault["name"]] = Fault(**fault["fault"])
            self.answer_json({})
        elif parts == ["_test", "limit"]:
            self.server.hub.limits.set(*json.loads(body))
            self.answer_json({})
        elif parts[0] == "api" and len(parts) == 6 and parts[4] == "paths-info":
            key = RepoKey(parts[1], f"{parts[2]}/{parts[3]}")
            if (commit := self.commit_or_refuse(key, parts[5])) is None:
                return
            if self.headers.get("Content-Type", "").startswith("application/json"):
                paths = json.loads(body)["paths"]
            else:
                paths = parse_qs(body.decode())["paths"]
            entries = tree_entries(self.server.hub.storage.files(key, commit), "", recursive=True)
            self.answer_json([entry for entry in entries if entry["path"] in paths])
        else:
            self.refuse("EntryNotFound")

    def whoami(self) -> None:
        if self.headers.get("Authorization", "").removeprefix("Bearer ").startswith("hf_"):
            token = {"displayName": "test", "role": "read", "createdAt": CREATED}
            self.answer_json(
                {
                    "type": "user",
                    "id": "1",
                    "name": "tester",
                    "fullname": "Tester",
                    "orgs": [],
                    "auth": {"type": "access_token", "accessToken": token},
                }
            )
        else:
            self.refuse("InvalidToken", status=HTTPStatus.UNAUTHORIZED)

    def commit_or_refuse(self, key: RepoKey, revision: str) -> str | None:
        storage = self.server.hub.storage
        if not storage.has(key):
            self.refuse("RepoNotFound")
            return None
        access, token = storage.access(key)
        is_let_in = access == "public" or self.headers.get("Authorization") == f"Bearer {token}"
        asks_for_content = not self.path.startswith("/api/")
        if not is_let_in and (access == "private" or asks_for_content):
            self.refuse("RepoNotFound" if access == "private" else "GatedRepo", status=HTTPStatus.UNAUTHORIZED)
            return None
        commit = storage.resolve(key, revision)
        if commit is None:
            self.refuse("RevisionNotFound")
        return commit

    def repo_api(self, key: RepoKey, parts: list[str], query: dict[str, list[str]]) -> None:
        what, revision = (parts[0], parts[1] if len(parts) > 1 else "main") if parts else ("revision", "main")
        commit = self.commit_or_refuse(key, revision)
        if commit is None:
            return
        files = self.server.hub.storage.files(key, commit)
        if what == "revision":
            self.answer_json(
                {
                    "_id": commit[:24],
                    "id": key.name,
                    "sha": commit,
                    "private": self.server.hub.storage.access(key)[0] == "private",
                    "gated": "manual" if self.server.hub.storage.access(key)[0] == "gated" else False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "createdAt": CREATED,
                    "lastModified": CREATED,
                    "siblings": [{"rfilename": path} for path in files],
                }
            )
        elif what == "tree":
            folder = "/".join(parts[2:])
            entries = tree_entries(files, folder, recursive=query.get("recursive", ["false"])[0].lower() == "true")
            if folder and not entries:
                self.refuse("EntryNotFound", commit)
            else:
                self.answer_json(entries)
        elif what == "xet-read-token":
            endpoint = f"local://{self.server.hub.storage.xet_for_one_client()}"
            expires = int(time.time()) + 3600
            self.answer_json(
                {"accessToken": "xet", "exp": expires, "casUrl": endpoint},
                {"X-Xet-Cas-Url": endpoint, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)},
            )
        else:
            self.refuse("EntryNotFound", commit)

    def resolve(self, key: RepoKey, revision: str, path: str) -> None:
        commit = self.commit_or_refuse(key, revision)
        if commit is None:
            return
        file = self.server.hub.storage.files(key, commit).get(path)
        if file is None:
            self.refuse("EntryNotFound", commit)
            return
        headers = {"X-Repo-Commit": commit}
        if file.sha256 is None:
            name = f"{key.kind}/{key.name}/{path}"
            headers["ETag"] = f'"{file.oid}"'
            self.send_content(self.server.hub.storage.object_path(file), file, name, headers)
            return
        host = self.server.server_address[0]
        location = f"http://{host!s}:{self.server.hub.content_port}/{key.kind}/{key.name}/{commit}/{quote(path)}"
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size), "Location": location}
        if file.xet_hash:
            token = f"http://{self.headers['Host']}/api/{key.kind}/{key.name}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
        self.answer(HTTPStatus.FOUND, b"", headers)


def tree_entries(files: dict[str, StoredFile], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """What `tree` and `paths-info` say about the files and folders below `folder` ("" is the root)."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            above = prefix + "/".join(parts[:depth])
            entries[above] = {"type": "directory", "path": above, "oid": "0" * 40, "size": 0}
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
        if file.sha256:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        if file.xet_hash:
            entry["xetHash"] = file.xet_hash
        entries[path] = entry
    return [entry for path, entry in sorted(entries.items()) if recursive or "/" not in path[len(prefix) :]]


def main() -> None:
    hub = Hub(HubStorage(Path(sys.argv[1])))
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    servers = [Server(hub, HubHandler, address), Server(hub, ContentHandler, address)]
    hub.content_port = servers[1].server_address[1]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps([server.server_address[1] for server in servers]), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
