"""What is told of files that are not wholly here: by `why`, by `ls`, and by `umount`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from tests.support.elsewhere import eventually_resident
from tests.support.gateways import FileOfLeaves, gateway
from tests.support.mounted import Mounted, ipfsfs

NOWHERE = "http://127.0.0.1:1"
FILE = FileOfLeaves([os.urandom(300_000), os.urandom(200_000), os.urandom(100_000)])
"""Cut into leaves that no view would make: resident, it has another CID."""
USUAL = FileOfLeaves([os.urandom(1 << 20), os.urandom(1 << 20), os.urandom(1000)])


@pytest.fixture
def view(mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[Callable[..., Mounted]]:
    """Mounts a view with gateways; it is unmounted with its placeholders when the test ends."""
    made: list[Mounted] = []

    def mount(*gateways: str, patience_s: int = 4) -> Mounted:
        path = tmp_path / f"view{len(made)}"
        path.mkdir()
        options = [word for url in gateways for word in ("--gateway", url)]
        made.append(mounted(path, *options, "--patience", str(patience_s)))
        return made[-1]

    yield mount
    for one in made:
        if one.mounted:
            one.umount()


def test_why_says_who_served_which_part_and_why_others_did_not(view: Callable[..., Mounted]) -> None:
    with gateway(USUAL.blocks(0)) as first, gateway(USUAL.blocks(1, 2)) as second:
        mount = view(NOWHERE, first, second)
        file = mount.path / "file"
        file.symlink_to(USUAL.link)
        before = ipfsfs("why", file).stdout
        assert re.search(r"^here +nothing of it yet$", before, re.MULTILINE)
        assert "\nfrom" not in before
        asked = [line.split()[-1] for line in before.splitlines() if "gateway" in line]
        assert asked == [NOWHERE, first, second], "in this order"

        assert file.read_bytes() == USUAL.content
        eventually_resident(mount, file)
        mount.seal()
        told = ipfsfs("why", file).stdout
        lines = [re.sub("  +", "  ", line).strip() for line in told.splitlines()]
        assert f"from  gateway {second}: 1.0 MB, 50%" in lines
        assert f"gateway {first}: 1.0 MB, 49%" in lines
        assert any(line.startswith(f"not from  gateway {NOWHERE} cannot be reached") for line in lines)
        assert any(line.startswith(f"gateway {first} does not have baf") for line in lines)
        assert len(lines) < 14, "readable first"
        assert "length  CID" not in told

        table = [line.split() for line in ipfsfs("why", "--leaves", file).stdout.splitlines()][-3:]
        assert [row[-1] for row in table] == [first, second, second]
        facts = json.loads(ipfsfs("why", "--json", "--leaves", file).stdout)
        assert [leaf["origin"] for leaf in facts["leaves"]] == [f"gateway {url}" for url in (first, second, second)]
        refused = {one["origin"]: one["times"] for one in facts["refused"]}
        assert refused[f"gateway {first}"] == 2

        mount.remount()
        again = ipfsfs("why", file).stdout
        assert "not known: it did not come by its CID since the view was mounted" in again
        file.unlink()


def test_why_says_what_failed_and_what_is_here(view: Callable[..., Mounted]) -> None:
    with gateway(FILE.blocks(0)) as first:
        mount = view(first, patience_s=2)
        mount.expect_logged.append("file")
        file = mount.path / "file"
        file.symlink_to(FILE.link)
        with file.open("rb") as opened:
            assert opened.read(100) == FILE.content[:100]
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(opened.fileno(), 10, 350_000)
        told = ipfsfs("why", file).stdout
        assert f"gateway {first}: 300.0 kB, 50%" in told
        assert re.search(rf"^not from +gateway {first} does not have baf", told, re.MULTILINE)
        assert re.search(r"^last try +failed: no origin gives", told, re.MULTILINE)
        above = ipfsfs("why", mount.path).stdout
        assert re.search(r"^here +30\d\.\d kB, 5\d%$", above, re.MULTILINE)
        assert "leaves" not in above
        found = json.loads(ipfsfs("ls", "--view", mount.path, "--json").stdout)[0]["entries"]
        assert [(entry["kind"], entry["size"]) for entry in found] == [("other", len(FILE.content))]
        assert 300_000 <= found[0]["here"] < 320_000

        said = ipfsfs("umount", mount.path).stdout
        assert "(other files): 600.0 kB of 600.0 kB missing" in said
        assert f"ipfsfs mount --gateway {first} {mount.path}\n" in said
        plain = ipfsfs("why", file).stdout
        assert cid.to_text(FILE.root) in plain, "on plain disk too, where it is a link that leads nowhere"
        assert "nothing is mounted" in plain
    with gateway(FILE.blocks(0, 1, 2)) as first:
        mount.arguments = ("--gateway", first)
        mount.mount()
        assert file.read_bytes() == FILE.content
        eventually_resident(mount, file)
        mount.seal()
        told = json.loads(ipfsfs("why", "--json", file).stdout)
        assert told["cid"] != cid.to_text(FILE.root)
        assert [(one["origin"], one["bytes"]) for one in told["served"] if "gateway" in one["origin"]] == [
            (f"gateway {first}", 300_000)
        ], "the rest was in the store"
        assert "missing" not in ipfsfs("umount", mount.path).stdout
