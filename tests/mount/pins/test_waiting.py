"""Waiting for those who pin for others: with news, without, and with credentials where a path should be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.support.mounted import environment, ipfsfs

ROOT = "bafkreiabaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibae"


@dataclass(slots=True)
class Service:
    """A pinning service that never gets on. `states`: what it says of the pin, then the last for ever."""

    states: list[tuple[str, str]]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def pin(self) -> dict[str, object]:
        """Its pin, as it says it is now."""
        state, details = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {
            "requestid": "1", "status": state, "created": "2026-01-01T00:00:00Z", "delegates": [],
            "pin": {"cid": ROOT, "name": ""}, "info": {"status_details": details},
        }  # fmt: skip


@contextmanager
def _service(*states: tuple[str, str]) -> Iterator[Service]:
    found = Service(list(states))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            body = json.dumps({"count": 1, "results": [found.pin()]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield found
        finally:
            server.shutdown()
            serving.join()


def _settings(directory: Path, url: str, named: str = "token") -> dict[str, str]:
    (directory / "token").write_text("a-token")
    (directory / "token").chmod(0o600)
    (directory / "config.toml").write_text(f'[service.ours]\nurl = "{url}"\ntoken_file = "{named}"\n')
    return environment(IPFSFS_CONFIG=str(directory / "config.toml"))


def test_a_pin_that_never_leaves_the_queue_ends_the_wait_in_words(tmp_path: Path) -> None:
    with _service(("queued", "")) as service:
        began = time.monotonic()
        waiting = ("pin", "add", ROOT, "--service", "ours", "--wait", "2")
        done = ipfsfs(*waiting, check=False, env=_settings(tmp_path, service.url))
        assert done.returncode == 1
        assert 2 < time.monotonic() - began < 60
        assert "has not got on with" in done.stderr
        assert "it is queued" in done.stderr
        assert "run this again to wait on" in done.stderr


def test_news_of_a_pin_is_told_and_waited_for(tmp_path: Path) -> None:
    news = [("queued", f"{place} before it") for place in range(6, 0, -1)] + [("pinning", "half"), ("pinned", "")]
    with _service(*news) as service:
        waiting = ("pin", "add", ROOT, "--service", "ours", "--wait", "4")
        done = ipfsfs(*waiting, env=_settings(tmp_path, service.url))
        assert done.stdout.strip() == ROOT
        assert "queued (4 before it)" in done.stderr
        assert "pinning (half)" in done.stderr


def test_a_wait_can_be_interrupted(tmp_path: Path) -> None:
    with _service(("queued", "")) as service, subprocess.Popen(
        [sys.executable, "-m", "ipfsfs", "pin", "add", ROOT, "--service", "ours"],
        env=_settings(tmp_path, service.url), stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stderr is not None
        assert "queued" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(20) == 1
        assert "interrupted" in waiting.stderr.read()


def test_credentials_where_the_path_of_their_file_should_be_are_not_repeated(tmp_path: Path) -> None:
    for secret in ("Bearer canary", "hf_" + "canary" * 6):
        env = _settings(tmp_path, "http://127.0.0.1:1", secret)
        done = ipfsfs("pin", "ls", "--service", "ours", check=False, env=env)
        assert done.returncode == 2
        assert "canary" not in done.stderr
        assert "where the path of a file must be" in done.stderr
