"""`hf cache ls / rm / prune / verify` and `hf auth` do through the mount what they do on plain disk."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.support.hub import LocalHub
from tests.support.places import Place

pytestmark = pytest.mark.workers


def noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def listed(place: Place, *args: str) -> list[dict[str, Any]]:
    """`hf cache ls` without what tells the time."""
    rows: list[dict[str, Any]] = json.loads(place.clients.hf_ok("cache", "ls", "--json", *args))
    return [
        {key: value for key, value in row.items() if not key.startswith("last_") and key != "snapshot_path"}
        for row in rows
    ]


@pytest.mark.filesystem
def test_ls_rm_and_prune(hub: LocalHub, twice: Any) -> None:
    """Two repositories, one of them with a revision no branch names any more."""
    hub.add("tests/kept", {"model.safetensors": noise("kept", 400_000), "config.json": b"{}"})
    old = {"model.safetensors": noise("old", 300_000), "config.json": b"{}"}
    new = old | {"model.safetensors": noise("new", 500_000)}
    hub.add("tests/rows-only", {"rows.jsonl": b'{"a": 1}\n'}, kind="datasets")

    def use(place: Place) -> Any:
        hub.add("tests/moved-on", old)
        place.clients.hf_ok("download", "tests/kept")
        place.clients.hf_ok("download", "tests/moved-on")
        hub.add("tests/moved-on", new)
        place.clients.hf_ok("download", "tests/moved-on")
        place.clients.hf_ok("download", "tests/rows-only", "--repo-type", "dataset")
        seen = {
            "all": listed(place),
            "revisions": listed(place, "--revisions"),
            "small": listed(place, "-f", "size<100KB"),
            "unused for a week": listed(place, "-f", "accessed>7d"),
            "used today": len(listed(place, "-f", "accessed<1d")),
        }
        place.clients.hf_ok("cache", "prune", "--yes")
        seen["pruned"] = listed(place, "--revisions")
        place.clients.hf_ok("cache", "rm", "model/tests/kept", "dataset/tests/rows-only", "--yes")
        seen["removed"] = listed(place)
        return seen

    done = twice(use)
    assert {row["repo_id"] for row in done["all"]} == {"tests/kept", "tests/moved-on", "tests/rows-only"}
    assert len(done["revisions"]) == 4
    assert [row["repo_id"] for row in done["small"]] == ["tests/rows-only"]
    assert done["unused for a week"] == []
    assert done["used today"] == 3
    assert len(done["pruned"]) == 3
    assert [row["repo_id"] for row in done["removed"]] == ["tests/moved-on"]


def test_verify_tells_good_from_bad(hub: LocalHub, twice: Any) -> None:
    """A small file changed in place and one removed: `verify` names both, before that it finds nothing."""
    hub.add("tests/verified", {"model.safetensors": noise("verified", 2_000_000), "config.json": b"{}", "a.txt": b"a"})

    def verify(place: Place) -> Any:
        place.clients.hf_ok("download", "tests/verified")
        good = place.clients.hf("cache", "verify", "tests/verified", "--fail-on-missing-files")
        config = place.snapshot("tests/verified") / "config.json"
        with config.open("r+b") as file:
            file.write(b"[]")
        bad = place.clients.hf("cache", "verify", "tests/verified", "--fail-on-missing-files")
        (place.snapshot("tests/verified") / "a.txt").unlink()
        missing = place.clients.hf("cache", "verify", "tests/verified", "--fail-on-missing-files")
        return {
            "good": good.returncode,
            "bad": [bad.returncode, "config.json" in bad.stdout, "model.safetensors" in bad.stdout],
            "missing": [missing.returncode, "a.txt" in missing.stdout],
        }

    assert twice(verify) == {"good": 0, "bad": [1, True, False], "missing": [1, True]}


def test_a_mapped_model_outlives_its_removal(hub: LocalHub, twice: Any, models: dict[str, Any]) -> None:
    """`hf cache rm` while a worker has the weights mapped and has not read them yet: it reads them all, rightly."""
    name = "whisper-SpeechSeq2Seq"

    def remove_under_a_worker(place: Place) -> Any:
        place.clients.hf_ok("download", f"tiny/{name}")
        weights = place.snapshot(f"tiny/{name}") / "model.safetensors"
        before = place.clients.run_with_line("mapped", str(weights), meanwhile=lambda: None)
        after = place.clients.run_with_line(
            "mapped",
            str(weights),
            meanwhile=lambda: place.clients.hf_ok("cache", "rm", f"model/tiny/{name}", "--yes"),
        )
        return {"same": before == after, "left": listed(place), "file": weights.exists()}

    assert twice(remove_under_a_worker) == {"same": True, "left": [], "file": False}


def test_login_and_logout(hub: LocalHub, twice: Any) -> None:
    """The token is kept for its owner alone, found by the next command, and gone after logout."""
    token = "hf_" + "c4n4ry" * 6

    def log_in_and_out(place: Place) -> Any:
        place.clients.hf_ok("auth", "login", "--token", token)
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (place.home, *place.home.glob("*token*"))}
        who = place.clients.hf_ok("auth", "whoami")
        kept = (place.home / "token").read_text()
        place.clients.hf_ok("auth", "logout")
        return {
            "modes": modes,
            "who": "tester" in who,
            "kept": kept == token,
            "left": (place.home / "token").exists(),
        }

    done = twice(log_in_and_out)
    assert {done["modes"][name] for name in ("token", "stored_tokens")} == {"0o600"}
    assert (done["who"], done["kept"], done["left"]) == (True, True, False)
