"""A small real stand-in for the package ipfs_kit_py, with the one call of it that is used: the package itself cannot be
installed (its release does not import). It has blocks from the RPC of a Kubo, or tells lies, as its directory says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tests.support.kubo_node import CANARY

_MODULE: Final = """
import json, pathlib, time, urllib.error, urllib.parse, urllib.request

TOLD = json.loads((pathlib.Path(__file__).parents[2] / "told.json").read_text())
(pathlib.Path(__file__).parents[2] / "imported").touch()


class ipfs_py:
    def __init__(self, resources=None, metadata=None):
        self.resources, self.metadata = resources, metadata

    def block_get(self, cid):
        if "lie" in TOLD:
            return self.lie(TOLD["lie"], cid)
        asked = urllib.request.Request(
            TOLD["api"] + "/api/v0/block/get?offline=true&timeout=2s&" + urllib.parse.urlencode({"arg": cid}),
            method="POST",
            headers={"Authorization": TOLD["authorization"]},
        )
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return {"success": True, "operation": "block_get", "cid": cid, "data": answer.read()}
        except urllib.error.HTTPError as error:
            with error:
                return {"success": False, "operation": "block_get", "error": json.loads(error.read())["Message"]}
        except OSError as error:
            return {"success": False, "operation": "block_get", "error": f"failed to connect: {error}"}

    def lie(self, kind, cid):
        match kind:
            case "other bytes":
                return {"success": True, "data": b"other bytes"}
            case "nothing":
                return {"success": True, "size": 3}
            case "text":
                return {"success": True, "data": "text"}
            case "another CID":
                return {"success": True, "cid": "QmXGcUmYwbfQDhQ5QSuP8TRDFYXvPYZzWsteQNpj6YgFv1", "data": b"x"}
            case "too much":
                return {"success": True, "data": bytes(3 << 20)}
            case "no dict":
                return ["success", True]
            case "no word":
                return {"success": False}
            case "truth by another name":
                return {"success": "True", "data": b"x"}
            case "raises":
                raise RuntimeError("broken on purpose")
            case "hangs":
                time.sleep(1)
                return {"success": True, "data": b"late"}
"""


def install_kit(directory: Path, **told: str) -> Path:
    """Put the stand-in into a directory for PYTHONPATH, and return that; it touches a file `imported` there."""
    inner = directory / "ipfs_kit_py" / "ipfs"
    inner.mkdir(parents=True)
    (directory / "ipfs_kit_py" / "__init__.py").touch()
    (inner / "__init__.py").touch()
    (inner / "ipfs_py.py").write_text(_MODULE)
    (directory / "told.json").write_text(json.dumps({"authorization": f"Bearer {CANARY}", **told}))
    return directory
