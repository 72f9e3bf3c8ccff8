"""snapshot_download by the real client, from a local Hub in a process of its own."""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from typing import Final

from tests.bench import material
from tests.bench.bench import At
from tests.bench.row import PLAIN, Aim, Done, Line, Row, Unit


def ready_download() -> None:
    """Import all that downloads."""
    import_module("hf_xet")
    import_module("huggingface_hub._snapshot_download")


def download(repo_id: str, size: int) -> Done:
    from huggingface_hub import snapshot_download

    began = time.perf_counter()
    snapshot_download(repo_id)
    return time.perf_counter() - began, size


def over_http(at: At) -> None:
    over(at, "download-http", material.HTTP, at.scale.download)


def over_xet(at: At) -> None:
    over(at, "download-xet", material.XET, at.scale.download)


def over(at: At, line: str, repo_id: str, size: int) -> None:
    """Download a repository with `size` bytes of weights, and remove it again."""
    at.written_back()
    at.timed(line, download, repo_id, size, ready=ready_download)
    for directory in (material.folder(at.root, repo_id), at.root / "hub" / "blobs", at.root / "xet"):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(at.root / "hub" / ".locks", ignore_errors=True)


_NEEDS: Final = ("hub",)

ROWS: Final = (
    Row(
        over_http,
        (
            Line(
                "download-http",
                "snapshot_download over HTTP, {download}",
                Unit.MB_PER_S,
                Aim(PLAIN, at_least=0.8),
                "MB",
            ),
        ),
        _NEEDS,
    ),
    Row(over_xet, (Line("download-xet", "snapshot_download over Xet, {download}", Unit.MB_PER_S, per="MB"),), _NEEDS),
)
