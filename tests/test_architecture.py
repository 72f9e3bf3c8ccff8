"""What the tree itself must keep: rooms that look downwards only, small modules with telling names, public words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 400

# A module longer than MOST_LINES, and why it is better whole.
LONG_FOR_A_REASON: dict[str, str] = {}

# Names under which anything can be put away and nothing can be found.
DRAWERS = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"}

# Spelled so that this file is not among its own findings.
MACHINE_PATH = re.compile(r"(?<![\w.$}{*<>])/(?:root|work)" + "/")
REGISTRY_HOST = re.compile(
    "|".join((r"pypi\." + "org", r"python" + r"hosted\.org", r"(?:proxy|sum)\.go" + r"lang\.org", r"npm" + r"js\.org"))
    + r"|(?:deb|security|snapshot)\.deb"
    + r"ian\.org"
)


def git(*arguments: str) -> str:
    # The checkout may belong to somebody else than who runs the tests.
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tracked(*patterns: str) -> list[Path]:
    paths = [ROOT / name for name in git("ls-files", "-z", "--", *patterns).split("\0") if name]
    return [path for path in paths if path.is_file()]


def matches(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    found = []
    for path in paths:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    return found


def test_rooms_import_only_rooms_below_them() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_only_the_parts_of_a_view_know_which_kinds_of_files_there_are() -> None:
    """Lookups and listings decide a node's backing, by what the view gives them; nothing else can tell the kinds apart,
    so that a second kind is one more room and one more decision."""
    kinds = re.compile(r"ipfsfs\.view\.(?:resident|placeholder)\b")
    kinds_of_rooms = ("view/resident/*", "view/placeholder/*")
    outside = [path for path in tracked("ipfsfs/*.py") if not any(path.match(room) for room in kinds_of_rooms)]
    knowing = {str(path.relative_to(ROOT)) for path in outside if kinds.search(path.read_text())}
    assert knowing == {"ipfsfs/view/view.py", "ipfsfs/view/backing.py"}, "backing.py names the rooms in its words"
    decisions = matches(re.compile(r"def _backing_of_link\(|self\._backing_of_link\("), outside)
    assert [found.split(":")[0] for found in decisions] == ["ipfsfs/view/names.py"] * 2


def test_modules_are_small_or_have_a_reason() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked("*.py")}
    too_long = {name: lines for name, lines in lengths.items() if lines > MOST_LINES and name not in LONG_FOR_A_REASON}
    assert not too_long, f"longer than {MOST_LINES} lines: split them, or list the reason in this file"
    needless = [name for name in LONG_FOR_A_REASON if lengths.get(name, 0) <= MOST_LINES]
    assert not needless, "these are short, or gone: take them off the list"


def test_nothing_is_named_for_a_drawer() -> None:
    named = [
        path.relative_to(ROOT)
        for path in tracked("ipfsfs", "tests", "mount_scripts")
        if DRAWERS & {part.split(".")[0].lower() for part in path.relative_to(ROOT).parts}
    ]
    assert not named


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine paths", "registry hosts"])
def test_files_speak_of_no_machine_in_particular(pattern: re.Pattern[str]) -> None:
    assert not matches(pattern, [path for path in tracked() if path.name != "uv.lock"])


def test_the_lock_file_names_public_places_only() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts <= {"pypi" + ".org", "files.python" + "hosted.org"}


def test_the_tree_is_as_it_was_after_an_installation() -> None:
    """What the launchers make in a checkout is ignored by git."""
    made = [".venv", ".venv.d/Xd3fGh1k/bin/python", ".venv.lock", ".venv.next", ".venv.uv/bin/uv"]
    assert git("check-ignore", "--no-index", *made).split() == made


def test_the_submodule_is_a_pointer_that_nothing_follows() -> None:
    assert git("ls-files", "--stage", "external/ipfs_kit_py").split()[:2] == [
        "160000",
        "81f11b6c2ee95ce49c88d07e5448380b66757478",
    ]
    prefix = "submodule.external/ipfs_kit_py."
    assert set(git("config", "--file", ".gitmodules", "--list").splitlines()) == {
        f"{prefix}path=external/ipfs_kit_py",
        f"{prefix}url=https://github.com/endomorphosis/ipfs_kit_py",
        f"{prefix}update=none",
        f"{prefix}shallow=true",
    }
