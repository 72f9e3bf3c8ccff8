"""`ipfsfs status`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import PATH, mountpoint, must_be_ours, must_be_there
from ipfsfs.daemon import mounts, placing
from ipfsfs.daemon.client import ask
from ipfsfs.errors import IpfsfsError

_PATIENCE_S: Final = 5.0


@click.command(short_help="Say what is mounted, and whether anything is wrong.", epilog="Example: ipfsfs status --json")
@click.argument("path", type=PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def status(path: Path | None, as_json: bool) -> None:
    """Say what is mounted, how much of it is sealed, and whether anything is wrong.

    By the word of the kernel's mount table and of the daemon; without PATH, of every view of this user.
    """
    if path is not None:
        at = mountpoint(path)
        view = mounts.view_over(at)
        if view is None:
            must_be_there(at)
        elif view.mountpoint != at and not as_json:
            click.echo(render.printable(f"{at} lies in the view of {view.mountpoint}."))
        found = _of(view.mountpoint if view is not None else at)
        render.facts(found if as_json else _shown(found), as_json)
        return
    all_found = [_of(view.mountpoint) for view in mounts.our_views()]
    if not all_found and not as_json:
        click.echo("Nothing is mounted. Mount a cache with: ipfsfs mount ~/.cache/huggingface")
        return
    render.facts([found if as_json else _shown(found) for found in all_found], as_json)


def _of(at: Path) -> dict[str, Any]:
    view = mounts.view_at(at)
    if view is None:
        store = placing.default_store(at)
        return {
            "mountpoint": str(at), "mounted": False, "pid": None, "store": str(store) if os.path.isdir(store) else None,
            "sealed": None, "unsealed": None, "rot": [], "broken_promises": [], "degraded": "",
        }  # fmt: skip
    try:
        must_be_ours(view)
        return ask(view.store, {"command": "status"}, patience_s=_PATIENCE_S)
    except IpfsfsError as error:
        return {
            "mountpoint": str(at), "mounted": True, "pid": None, "store": view.source,
            "sealed": None, "unsealed": None, "rot": [], "broken_promises": [], "degraded": str(error),
            "what_to_do": error.hint or f"ipfsfs umount --lazy {render.shell(at)}, then mount it again",
        }  # fmt: skip


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """The facts a person wants, in words."""
    at = found["mountpoint"]
    if not found["mounted"]:
        return {"path": at, "state": "not mounted: the plain directory", "store": found["store"]}
    if found["pid"] is None:
        return {
            "path": at,
            "state": f"mounted, but {found['degraded']}",
            "what to do": found["what_to_do"],
        }
    if found["unsealed"]:
        sealing = f", {found['unsealed']:,} to go" + (f", now {found['sealing']}" if found["sealing"] else "")
    else:
        sealing = "" if found["looked_at_everything"] else ", looking for more"
    shown = {
        "path": at,
        "state": f"mounted by process {found['pid']}" + (", for all users" if found["allow_other"] else ""),
        "sealed": f"{found['sealed']:,} files, {render.size(found['sealed_bytes'])}{sealing}",
        "rot": [f"{item['path']}: {item['detail']}. Remove it and download it again." for item in found["rot"]],
        "broken promises": [
            f"{item['path']}: {item['detail']}" + (f", by {item['who']}" if item["who"] else "")
            for item in found["broken_promises"]
        ],
        "in quarantine": [f"{item['stored_as']} ({render.size(item['size'])})" for item in found["quarantine"]],
        "degraded": found["degraded"] or "no",
        "store": found["store"],
        "log": found["log"],
    }
    if found["sealer"] != "ready":
        shown["sealer"] = found["sealer"]
    return shown
