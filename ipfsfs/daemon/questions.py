"""What a daemon can be asked, and how it finds the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final

import trio

from ipfsfs import __version__
from ipfsfs.daemon.lifecycle import Running
from ipfsfs.daemon.looking import Known, explain, findings_as_facts, see, unreachable
from ipfsfs.daemon.verifying import verify
from ipfsfs.errors import StoreError, UsageError
from ipfsfs.store import quarantine
from ipfsfs.unixfs import cid

Report = Callable[[dict[str, Any]], None]


async def status(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """The state of the view, in numbers and words."""
    view = running.view
    seals = view.seals
    files = size = 0
    degraded = seals.degraded
    findings: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    try:
        await seals.flush()
        await seals.look_after()
        if (index := seals.index) is not None:
            totals = await trio.to_thread.run_sync(index.totals)
            files, size = totals.files, totals.bytes
    except StoreError as error:
        seals.fail(error)
    degraded = seals.degraded
    try:
        findings = findings_as_facts(await trio.to_thread.run_sync(seals.ledger.findings))
        kept = [asdict(item) for item in await trio.to_thread.run_sync(quarantine.kept, running.store.quarantine_fd)]
    except StoreError as error:
        degraded = degraded or str(error)
    return {
        "mountpoint": str(running.config.mountpoint),
        "mounted": running.mounted,
        "pid": os.getpid(),
        "store": str(running.store.directory),
        "version": __version__,
        "since": int(running.since),
        "uptime_s": int(time.time() - running.since),
        "chunker": running.config.chunker,
        "allow_other": running.config.allow_other,
        "sealed": files,
        "sealed_bytes": size,
        "unsealed": view.sealing.unsealed,
        "looked_at_everything": view.sealing.walked,
        "rot": [finding for finding in findings if finding["kind"] == "rot"],
        "broken_promises": [finding for finding in findings if finding["kind"] == "broken_promise"],
        "quarantine": kept,
        "degraded": degraded,
        "sealer": running.sealer.state or "ready",
        "sealing": os.fsdecode(running.sealer.progress.path),
        "features": running.features,
        "files_known_to_the_kernel": len(view.nodes),
        "open_files": len(view.handles),
        "log": str(running.store.log_path),
    }


async def seal(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """Seal what has no seal below a path, and wait for it."""
    prefix = _path(question)
    os.close(see(running.view.plain, running.config.mountpoint, prefix))
    began = trio.current_time()
    progress = await running.view.sealing.seal_tree(prefix, background=False, report=lambda at: report(asdict(at)))
    await running.view.seals.flush()
    return {
        **asdict(progress),
        "seconds": round(trio.current_time() - began, 3),
        "degraded": running.view.seals.degraded,
        "open_for_writing": sorted(
            os.fsdecode(running.view.nodes.path(node)) for node in running.view.handles.open_for_writing()
        ),
    }


async def check(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """Read everything again below some paths, and compare."""
    seals = running.view.seals
    if seals.index is None:
        raise StoreError(
            f"there is nothing to compare with: {seals.degraded}",
            hint="Unmount and mount again: the index is made anew.",
        )
    await seals.flush()
    paths = question.get("paths", [""])
    if not isinstance(paths, list):
        raise UsageError("paths must be a list of texts")
    for path in paths:
        os.close(see(running.view.plain, running.config.mountpoint, _encoded(path)))
    result = await verify(
        running.sealer,
        seals.index,
        seals.ledger,
        running.view.plain,
        running.view.nodes.root_place,
        [_encoded(path) for path in paths],
        report,
    )
    for ino in result.changed_inodes:
        seals.drop(ino)
        node = running.view.nodes.find(seals.dev, ino)
        if node is not None:
            running.view.sealing.changed(node)
    return result.as_facts()


async def why(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """What a path is, and what is known of it."""
    view = running.view
    await view.seals.flush()
    seals = view.seals
    known = Known(view.plain, running.config.mountpoint, seals.index, seals.ledger, seals.degraded)
    return explain(known, _path(question))


async def name(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """The CID of a file or tree, after what in it lacks a seal was sealed."""
    view, path = running.view, _path(question)
    try:
        root, unsealed = await view.trees.name(path)
        if unsealed:
            await view.sealing.seal_tree(path, background=False, report=lambda at: report(asdict(at)))
            root, unsealed = await view.trees.name(path)
    except OSError as error:
        raise unreachable(running.config.mountpoint / os.fsdecode(path), error) from error
    return {
        "cid": cid.to_text(root) if root else None,
        "chunker": running.config.chunker,
        "unsealed": [os.fsdecode(below) for below in unsealed],
    }


async def umount(running: Running, question: dict[str, Any], report: Report) -> dict[str, Any]:
    """Unmount. The answer comes when the path is the plain directory again; the daemon is gone soon after."""
    await running.unmount(lazy=bool(question.get("lazy", False)))
    return {"unmounted": str(running.config.mountpoint), "pid": os.getpid()}


def _path(question: dict[str, Any]) -> bytes:
    return _encoded(question.get("path", ""))


def _encoded(path: object) -> bytes:
    if not isinstance(path, str) or "\0" in path:
        raise UsageError("a path must be a text without NUL")
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise UsageError(f"no path: {error}") from error


QUESTIONS: Final[dict[str, Callable[[Running, dict[str, Any], Report], Awaitable[dict[str, Any]]]]] = {
    "status": status,
    "seal": seal,
    "verify": check,
    "why": why,
    "cid": name,
    "umount": umount,
}
