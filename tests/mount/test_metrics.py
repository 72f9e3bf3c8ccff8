"""Metrics: what a view counts is what was done, is text that Prometheus reads, and is served without harm."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipfsfs.daemon.metrics.table import METRICS, Sample
from ipfsfs.daemon.metrics.text import CONTENT_TYPE, text
from tests.support.checkouts import SCRIPTS
from tests.support.elsewhere import Elsewhere
from tests.support.mounted import Mounted, environment, ipfsfs

_CONTENT = os.urandom(3_000_000)
Values = dict[tuple[str, str], float]


def _parsed(page: str) -> Values:
    """A page, as a reader of Prometheus' format understands it."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def _values(view: Mounted) -> Values:
    return _parsed(ipfsfs("metrics", view.path).stdout)


def _asked(address: str, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") -> tuple[int, str, str]:
    """The status, header and body that a server answers with."""
    with _connected(address) as asking:
        asking.sendall(request)
        answer = b"".join(iter(lambda: asking.recv(1 << 16), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head, body


def _connected(address: str) -> socket.socket:
    if address.startswith("unix://"):
        asking = socket.socket(socket.AF_UNIX)
        place: str | tuple[str, int] = address.removeprefix("unix://")
    else:
        asking = socket.socket(socket.AF_INET)
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
    asking.settimeout(10)
    try:
        asking.connect(place)
    except OSError:
        asking.close()
        raise
    return asking


@pytest.fixture
def port() -> str:
    """The address of a port of loopback that nothing listens at."""
    with socket.socket(socket.AF_INET) as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"


def _exporter(view: Mounted) -> int:
    """The process that serves a view's metrics, as soon as it runs."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split()
        for pid in children:
            if b"ipfsfs.daemon.metrics.exporter" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        time.sleep(0.02)
    raise AssertionError("no exporter runs")


def test_s46_what_was_done_is_what_is_counted(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    before = _values(view)
    (view.path / "file").write_bytes(_CONTENT)
    for _ in range(3):  # O_DIRECT: each read reaches the daemon, whatever the kernel has cached
        read = ["dd", f"if={view.path}/file", "of=/dev/null", "bs=1M", "iflag=direct", "status=none"]
        subprocess.run(read, check=True)
    now = _values(view)

    def grown(name: str) -> float:
        return now[f"ipfsfs_{name}", ""] - before[f"ipfsfs_{name}", ""]

    assert grown("written_bytes_total") == len(_CONTENT)
    assert grown("read_bytes_total") >= 3 * len(_CONTENT)
    assert grown("reads_total") >= 3 * 3
    assert grown("opens_total") >= 4
    assert grown("lookups_total") >= 1
    assert grown("failed_reads_total") == 0
    assert now["ipfsfs_known_files", ""] >= 2


@pytest.mark.kubo
def test_s46_fetches_are_counted_by_the_origin_that_served_them(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": _CONTENT}, "--gateway", "http://127.0.0.1:1")
    assert (at / "file").read_bytes() == _CONTENT
    now, node = _values(view), f"kubo {elsewhere.node.api}"
    assert now["ipfsfs_fetched_bytes_total", node] == len(_CONTENT)
    assert now["ipfsfs_fetched_leaves_total", node] == 3
    assert ("ipfsfs_fetched_bytes_total", "gateway http://127.0.0.1:1") not in now
    assert (now["ipfsfs_origin_up", node], now["ipfsfs_origin_failures_total", node]) == (1, 0)
    assert now["ipfsfs_origin_questions_total", node] >= 3
    assert now["ipfsfs_leaf_misses_total", ""] >= 1
    assert now["ipfsfs_resident_memory_bytes", "fetcher"] > 1_000_000


def test_every_metric_of_the_table_is_in_the_text_and_none_else(mounted: Callable[..., Mounted]) -> None:
    page = ipfsfs("metrics", mounted().path).stdout
    families = {family.name: family for family in text_string_to_metric_families(page)}
    for metric in METRICS:
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        family = families.pop(name)
        assert family.type == metric.kind
        assert family.documentation.startswith(metric.meaning)
        assert all(list(sample.labels) == ([metric.label] if metric.label else []) for sample in family.samples)
        assert metric.name.endswith(("_total", "_bytes", "_seconds") if metric.unit or metric.kind == "counter" else "")
    assert not families


def test_names_of_origins_are_escaped_for_prometheus() -> None:
    odd = 'kubo "a\\b"\nx'
    page = text([Sample("ipfsfs_origin_up", 1, odd), Sample("ipfsfs_of_a_later_version", 1)])
    assert _parsed(page) == {("ipfsfs_origin_up", odd): 1}


@pytest.mark.parametrize("where", ["port", "socket"])
def test_s46_metrics_are_served_where_mount_was_told(
    mounted: Callable[..., Mounted], port: str, tmp_path: Path, where: str
) -> None:
    path = tmp_path / "metrics.sock"
    address = port if where == "port" else f"unix://{path}"
    view = mounted(None, "--metrics", address)
    status, head, body = _asked(address)
    assert (status, f"Content-Type: {CONTENT_TYPE}" in head) == (200, True)
    assert _parsed(body).keys() == _values(view).keys()
    assert view.status()["metrics"] == address
    if where == "socket":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert _asked(address, b"HEAD /metrics HTTP/1.0\r\n\r\n")[2] == ""
    assert _asked(address, b"POST /metrics HTTP/1.1\r\n\r\n")[0] == 405
    assert _asked(address, b"GET /etc/passwd HTTP/1.1\r\n\r\n")[0] == 404
    assert _asked(address, b"\r\n\r\n")[0] == 400
    view.umount()
    with pytest.raises(OSError, match=r"refused|No such file"):
        _asked(address)
    view.mount()
    assert _asked(address)[0] == 200


def test_s46_a_page_whose_name_leads_to_the_port_reads_nothing(mounted: Callable[..., Mounted], port: str) -> None:
    """DNS rebinding: a browser of this machine connects to loopback, for the name of somebody's page."""
    mounted(None, "--metrics", port)
    number = port.rpartition(":")[2]
    for host in ("localhost", "LocalHost:9", f"127.0.0.1:{number}", "127.1.2.3", f"[::1]:{number}"):
        assert _asked(port, f"GET /metrics HTTP/1.1\r\nhOst:{host}\r\n\r\n".encode())[0] == 200, host
    for host in (f"page.example:{number}", "127.0.0.1.page.example", "localhost.page.example", "x", "", "127.0.0.1@x"):
        status, _, body = _asked(port, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (status, "ipfsfs_" in body) == (421, False), host
    both = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: page.example\r\n\r\n"
    assert _asked(port, both)[0] == 421


def test_s46_hostile_clients_stall_nothing_but_themselves(mounted: Callable[..., Mounted], port: str) -> None:
    view = mounted(None, "--metrics", port)
    (view.path / "file").write_bytes(_CONTENT)
    exporter = _exporter(view)
    asked_before = _values(view)
    with _hostile(port) as told:
        for _ in range(20):
            began = time.monotonic()
            assert (view.path / "file").read_bytes() == _CONTENT
            assert os.listdir(view.path) == ["file"]
            assert time.monotonic() - began < 1
            assert _asked(port)[0] == 200
            assert time.monotonic() - began < 5
        assert told
    assert len(os.listdir(f"/proc/{exporter}/fd")) < 100
    memory = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{exporter}/status").read_text())
    assert memory is not None
    assert int(memory[1]) < 100_000
    assert len(os.listdir(f"/proc/{view.pid}/fd")) < 100
    assert _values(view)["ipfsfs_reads_total", ""] >= asked_before["ipfsfs_reads_total", ""]


@contextmanager
def _hostile(port: str) -> Iterator[list[int]]:
    """Clients that say nothing, say nothing but rubbish, ask and do not listen, and ask without end."""
    silent = [_connected(port) for _ in range(60)]
    deaf = [_connected(port) for _ in range(10)]
    for one in deaf:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        one.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    over = threading.Event()
    told: list[int] = []

    def endless() -> None:
        while not over.is_set():
            try:
                with _connected(port) as one:
                    told.append(1)
                    while not over.is_set():
                        one.sendall(b"GET /metrics HTTP/1.1\r\nX-Header: " + b"x" * 4_000 + b"\r\n")
            except OSError:
                pass

    threads = [threading.Thread(target=endless) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
        for one in (*silent, *deaf):
            one.close()


def test_an_exporter_that_dies_is_started_again_and_the_view_goes_on(
    mounted: Callable[..., Mounted], port: str
) -> None:
    view = mounted(None, "--metrics", port)
    view.expect_logged += ["the exporter was ended by SIGKILL"]
    exporter = _exporter(view)
    os.kill(exporter, 9)
    assert _asked(port)[0] == 200
    assert _exporter(view) != exporter


def test_where_something_else_listens_mount_says_so_and_mounts_nothing(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    path = tmp_path / "taken"
    path.write_text("not a socket")
    (tmp_path / "cache").mkdir()
    for address, said in (
        (f"unix://{path}", "another program listens there"),
        ("http://0.0.0.0:9400", "is not loopback"),
        ("http://[::]:9400", "is not loopback"),
        ("http://metrics.example:9400", "is not loopback"),
        ("https://127.0.0.1:9400", "plain http"),
        (f"unix://{tmp_path}/cache/below/m.sock", "would cover it"),
    ):
        done = ipfsfs("mount", tmp_path / "cache", "--metrics", address, check=False)
        assert (done.returncode in (2, 5), said in done.stderr) == (True, True), done.stderr
    assert path.read_text() == "not a socket"
    assert not Mounted(tmp_path / "cache").mounted


def test_a_socket_that_a_dead_daemon_left_is_replaced_and_a_living_one_is_not(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    address = f"unix://{tmp_path}/m.sock"
    view = mounted(None, "--metrics", address)
    (tmp_path / "other").mkdir()
    done = ipfsfs("mount", tmp_path / "other", "--metrics", address, check=False)
    assert "another program listens there" in done.stderr
    view.kill()
    assert (tmp_path / "m.sock").exists()
    view.mount()
    assert _asked(address)[0] == 200


def test_top_shows_rates_once_or_until_it_is_interrupted(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    (view.path / "file").write_bytes(_CONTENT)
    shown = view.run("top", view.path, "--once", "--interval", "0.1").stdout
    assert re.search(r"^written +0 B +3\.0 MB$", shown, re.MULTILINE)
    (found,) = [json.loads(line) for line in view.run("top", view.path, "--once", "--json").stdout.splitlines()]
    assert 0.9 < found["seconds"] < 5
    assert {metric["name"] for metric in found["metrics"]} <= {metric.name for metric in METRICS}
    command = [sys.executable, "-m", "ipfsfs", "top", str(view.path), "--json", "--interval", "0.1"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as endless:
        assert endless.stdout is not None
        json.loads(endless.stdout.readline())
        (view.path / "new").write_bytes(_CONTENT)
        while not _rate(json.loads(endless.stdout.readline()), "ipfsfs_written_bytes_total"):
            pass
        endless.send_signal(signal.SIGINT)
        assert endless.wait(10) == 0


def _rate(found: dict[str, Any], name: str) -> float:
    return next(float(metric["per_second"]) for metric in found["metrics"] if metric["name"] == name)


def test_without_a_view_there_is_nothing_to_count(tmp_path: Path) -> None:
    for command in ("metrics", "top"):
        done = ipfsfs(command, tmp_path, check=False)
        assert (done.returncode, "ipfsfs" in done.stderr) == (5, True)


def test_the_board_uses_metrics_of_the_table_and_uses_them_all() -> None:
    board = json.loads((SCRIPTS / "grafana" / "ipfsfs.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [variable["query"] for variable in board["templating"]["list"]]
    named = set(re.findall(r"\bipfsfs_\w+", " ".join(asked)))
    assert named == {metric.name for metric in METRICS}
    kinds = {metric.name: metric.kind for metric in METRICS}
    for expression in asked:
        for name in re.findall(r"\bipfsfs_\w+", expression):
            assert (f"rate({name}" in expression) == (kinds[name] == "counter"), expression
