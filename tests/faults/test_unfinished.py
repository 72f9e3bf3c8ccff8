"""Downloads that are written under their final, promised name, and taken up again there: nobody can tell a part of a
file from a wrong file, so neither is ever taken away, and only what was left alone for long is reported."""

from __future__ import annotations

import http.server
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from ipfsfs.view.upkeep.unfinished import PATIENCE_S
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.promised import NAME, RIGHT, WRONG, blobs, is_sealed, leave_alone, status

pytestmark = pytest.mark.filesystem

HALF = len(RIGHT) // 2


def found(mount: Mounted) -> list[str]:
    """What is said of promises: the details of all that were broken."""
    return [item["detail"] for item in status(mount)["broken_promises"]]


def sealed(mount: Mounted, path: Path) -> None:
    """Wait until a file is sealed as it is."""
    mount.seal()
    assert is_sealed(path)


def test_a_download_that_is_taken_up_again_in_place_becomes_right_and_nothing_is_said(
    mounted: Callable[..., Mounted],
) -> None:
    """Append, a pause in which the part is sealed, append."""
    mount = mounted()
    path = blobs(mount) / NAME
    with path.open("wb") as file:
        file.write(RIGHT[:HALF])
    sealed(mount, path)
    assert path.read_bytes() == RIGHT[:HALF]
    with path.open("ab") as file:
        file.write(RIGHT[HALF:])
    sealed(mount, path)
    assert path.read_bytes() == RIGHT
    assert (found(mount), status(mount)["quarantine"]) == ([], [])


def test_pieces_that_are_written_into_a_file_of_full_size_are_no_overwriting(mounted: Callable[..., Mounted]) -> None:
    """As aria2 does: the file has its size from the start, and the pieces come in any order, over a pause."""
    mount = mounted()
    path = blobs(mount) / NAME
    with path.open("wb") as file:
        file.truncate(len(RIGHT))
        file.seek(HALF)
        file.write(RIGHT[HALF:])
    sealed(mount, path)
    with path.open("r+b") as file:
        file.write(RIGHT[:HALF])
    sealed(mount, path)
    assert path.read_bytes() == RIGHT
    assert (found(mount), status(mount)["quarantine"]) == ([], [])


def test_curl_takes_up_a_download_again(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    path = blobs(mount) / NAME
    (tmp_path / "served").write_bytes(RIGHT)
    with serving(tmp_path) as url:
        path.write_bytes(RIGHT[:HALF])
        sealed(mount, path)
        subprocess.run(["curl", "-sS", "-C", "-", "-o", path, f"{url}/served"], check=True)
    sealed(mount, path)
    assert path.read_bytes() == RIGHT
    assert (found(mount), status(mount)["quarantine"]) == ([], [])


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A server that can send parts of the files in a directory."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Parts, directory=str(directory)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Parts(http.server.SimpleHTTPRequestHandler):
    """Serves `Range: bytes=N-`."""

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first:])

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_what_was_left_alone_for_long_is_reported_and_stays_until_it_is_right(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged.append("broken promise: its sha256 is")
    path = blobs(mount) / NAME
    path.write_bytes(RIGHT[:HALF])
    leave_alone(path, PATIENCE_S + 1)
    sealed(mount, path)
    assert len(found(mount)) == 1
    assert path.read_bytes() == RIGHT[:HALF], "it is the only copy there is"
    with path.open("ab") as file:
        file.write(RIGHT[HALF:])
    sealed(mount, path)
    assert found(mount) == []
    assert path.read_bytes() == RIGHT
    assert status(mount)["quarantine"] == []


def test_it_is_reported_when_the_time_has_come_without_anything_being_done(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged.append("broken promise: its sha256 is")
    path = blobs(mount) / NAME
    path.write_bytes(WRONG)
    leave_alone(path, PATIENCE_S - 4)
    sealed(mount, path)
    assert found(mount) == []
    eventually(lambda: found(mount), "it is reported")
    assert path.read_bytes() == WRONG


def test_what_was_not_judged_before_an_unmount_is_judged_after_the_next_mount(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged.append("broken promise: its sha256 is")
    path = blobs(mount) / NAME
    path.write_bytes(WRONG)
    leave_alone(path, PATIENCE_S - 8)
    sealed(mount, path)
    assert found(mount) == []
    mount.remount()
    eventually(lambda: found(mount), "it is reported")
    assert path.read_bytes() == WRONG


def test_while_aria2_means_to_go_on_nothing_is_said(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    path = blobs(mount) / NAME
    mark = path.with_name(f"{NAME}.aria2")
    mark.write_bytes(b"\0\1")
    path.write_bytes(RIGHT[:HALF])
    leave_alone(path, 7 * 86_400)
    sealed(mount, path)
    assert found(mount) == []
    assert not is_sealed(mark)
    mark.unlink()
    mount.expect_logged.append("broken promise: its sha256 is")
    with path.open("ab") as file:
        file.write(b"wrong")
    leave_alone(path, 7 * 86_400)
    sealed(mount, path)
    assert len(found(mount)) == 1
