"""Commands on what is named by its CID: what is here is read here, and no unchecked byte is given (S38)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, write
from tests.support.mounted import TREE, Mounted, environment, ipfsfs

pytestmark = pytest.mark.kubo

BIG = os.urandom(5_500_000)
CONTENT: dict[str, bytes | str] = {
    "big": BIG,
    "below/small": b"small",
    "below/empty": b"",
    "link": "below/small",
}


def cat(view: Mounted, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `ipfsfs cat` on a view."""
    return subprocess.run(
        [sys.executable, "-m", "ipfsfs", "cat", *arguments, "--view", str(view.path)],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
        cwd=TREE,
    )


def cid_of(path: Path) -> str:
    """The CID of a path, by the command."""
    return ipfsfs("cid", path).stdout.strip()


def test_what_is_here_is_read_with_no_origin(alone: Mounted) -> None:
    view = alone
    write(view.path, {"big": BIG, "small": b"small"})
    view.seal()
    big, small = cid_of(view.path / "big"), cid_of(view.path / "small")
    assert cat(view, big).stdout == BIG
    assert cat(view, f"ipfs://{small}").stdout == b"small"
    assert cat(view, big, "--offset", "1048000", "--length", "2000000").stdout == BIG[1_048_000:3_048_000]
    assert cat(view, big, "--offset", "99999999").stdout == b""
    said = json.loads(ipfsfs("stat", big, "--view", view.path, "--json").stdout)
    assert (said["type"], said["bytes"], said["here_bytes"], said["here"]) == ("file", len(BIG), len(BIG), True)
    assert ipfsfs("exists", big, "--view", view.path).returncode == 0


def test_what_is_not_here_comes_from_an_origin_and_is_kept_nowhere(elsewhere: Elsewhere) -> None:
    root, view = elsewhere.publish(CONTENT), elsewhere.view()
    at = ("--view", str(view.path))
    listed = json.loads(ipfsfs("ls", root, *at, "--json").stdout)
    assert [(one["name"], one["type"], one["size"]) for one in listed] == [
        ("below", "directory", None),
        ("big", "file", len(BIG)),
        ("link", "link", None),
    ]
    big = listed[1]["cid"]
    absent = ipfsfs("exists", big, *at, "--json", check=False)
    assert absent.returncode == 1
    assert json.loads(absent.stdout)["exists"] is False
    assert json.loads(ipfsfs("exists", big, *at, "--anywhere", "--json").stdout)["exists"] is True
    assert cat(view, big).stdout == BIG
    assert cat(view, f"/ipfs/{root}/below/small").stdout == b"small"
    assert cat(view, f"/ipfs/{root}/below/empty").stdout == b""
    assert ipfsfs("exists", big, *at, check=False).returncode == 1, "nothing was kept"
    said = json.loads(ipfsfs("stat", root, *at, "--json").stdout)
    assert (said["type"], said["names"], said["bytes"]) == ("directory", 5, len(BIG) + 5)
    assert not said["here"]
    missing = cat(view, f"/ipfs/{root}/nothing")
    assert missing.returncode == 2
    assert b"has no nothing" in missing.stderr
    assert cat(view, root).returncode == 2, "a directory has no bytes"


def test_a_listing_by_path_says_what_the_view_says(elsewhere: Elsewhere) -> None:
    root = elsewhere.publish(CONTENT)
    _, at = elsewhere.attached(CONTENT)
    by_cid = json.loads(ipfsfs("ls", root, "--view", at, "--json").stdout)
    by_path = json.loads(ipfsfs("ls", at, "--json").stdout)
    assert [(one["name"], one["type"]) for one in by_path] == [(one["name"], one["type"]) for one in by_cid]
    assert by_path[1]["cid"] == by_cid[1]["cid"]


def test_a_part_that_cannot_be_had_ends_cat_after_what_came_before_it(elsewhere: Elsewhere, tmp_path: Path) -> None:
    content = os.urandom(40 << 20)
    root, view = elsewhere.publish({"file": content}), elsewhere.view()
    (file,) = json.loads(ipfsfs("ls", root, "--view", view.path, "--json").stdout)
    leaves = elsewhere.node.ask("refs", "--recursive", "--unique", file["cid"]).split()
    raw = [leaf for leaf in leaves if leaf.startswith("bafkrei")]
    elsewhere.node.ask("pin", "rm", root)
    elsewhere.node.ask("block", "rm", raw[-2])
    done = cat(view, file["cid"])
    assert done.returncode == 1
    assert raw[-2] in done.stderr.decode()
    assert 0 < len(done.stdout) < len(content)
    assert content.startswith(done.stdout), "no byte that was not checked"


def test_a_name_is_resolved_by_the_node_and_attached(elsewhere: Elsewhere, tmp_path: Path) -> None:
    tree = tmp_path / "named"
    write(tree, CONTENT)
    said = ipfsfs("publish", tree, "--private-too", "--name", "of-a-test", *elsewhere.options).stderr
    name = next(word for word in said.split() if word.startswith("/ipns/")).rstrip(".")
    view = elsewhere.view()
    ipfsfs("attach", name, view.path / "one")
    ipfsfs("attach", name.replace("/ipns/", "ipns://"), view.path / "two")
    assert (view.path / "one" / "big").read_bytes() == BIG
    assert (view.path / "two" / "link").read_bytes() == b"small"
    assert cat(view, f"{name}/below/small").stdout == b"small"
    refused = ipfsfs("attach", "/ipns/", view.path / "three", check=False)
    assert refused.returncode == 2
    unknown = ipfsfs("attach", "/ipns/../../x", view.path / "three", check=False)
    assert unknown.returncode == 2
    assert not (view.path / "three").exists()


def test_what_names_nothing_is_wrong_usage(alone: Mounted) -> None:
    for arguments in (("cat", "no-cid"), ("exists", "ipfs://no"), ("rm", "ipns://x")):
        assert ipfsfs(*arguments, "--view", alone.path, check=False).returncode == 2
