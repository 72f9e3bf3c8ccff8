"""A caching nginx in front of our server: a block is asked of us once, and nothing private is kept for strangers.

Where there is no nginx (in `PATH`, or named by `IPFSFS_TEST_NGINX`) this is not tested; what it relies on is, in
`test_admission`: which headers say what may be kept.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cars import raw
from tests.support.processes import eventually
from tests.support.served import TOKEN, ServedDirectory
from tests.workers.server.conftest import ask, ask_signed

PUBLIC = random.Random(1).randbytes(700_000)
PRIVATE = random.Random(2).randbytes(700_000)
_NGINX = os.environ.get("IPFSFS_TEST_NGINX") or shutil.which("nginx")
_CONFIGURATION = """
daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  proxy_cache_path {at}/cache keys_zone=blocks:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_cache blocks;
      proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""


@contextmanager
def nginx(upstream: ServedDirectory, at: Path) -> Iterator[ServedDirectory]:
    """A cache in front, as something that can be asked."""
    if _NGINX is None:
        pytest.skip("there is no nginx here")
    at.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (at / "nginx.conf").write_text(_CONFIGURATION.format(at=at, port=port, upstream=upstream.address))
    process = subprocess.Popen([_NGINX, "-p", at, "-c", at / "nginx.conf", "-e", at / "error.log"])
    front = ServedDirectory(at / "unused", port=port)
    try:
        eventually(lambda: _answers(port), "nginx answers")
        yield front
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_an_nginx_in_front(serve: Callable[..., ServedDirectory], tmp_path: Path) -> None:
    server = serve(token=TOKEN, open=True)
    server.offer("public", PUBLIC)
    server.offer("private", PRIVATE, public=False)
    server.wait_until(blobs=2)
    with nginx(server, tmp_path / "nginx") as front:
        said = [ask(front, raw(PUBLIC)).headers["x-cache"] for _ in range(3)]
        assert said == ["MISS", "HIT", "HIT"]
        assert ask(front, raw(PUBLIC)).body == PUBLIC
        for _ in range(2):
            assert ask_signed(front, raw(PRIVATE)).body == PRIVATE
            assert ask(front, raw(PRIVATE)).status == 404
        server.totals()
        assert server.totals()["gave_blocks"] == 3
        server.stop()
        assert ask(front, raw(PUBLIC)).body == PUBLIC
