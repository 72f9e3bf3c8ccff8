"""Three users with the real clients in one cache that a team shares: what tripped users of shared caches elsewhere.

Each of the three has another umask. On plain disk each of these fails for the second user, or warns.
"""

from __future__ import annotations

import io
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.hub import LocalHub
from tests.support.members import Member
from tests.support.model_engines import make_remote_code
from tests.support.mounted import Mounted
from tests.support.users import User, program_within_reach
from tests.workload.test_cache_commands import noise

pytestmark = [pytest.mark.workers, pytest.mark.root]

TEAM: Final = 5_001
USERS: Final = (User(4_001, (TEAM,), 0o077), User(4_002, (TEAM,), 0o022), User(4_003, (TEAM,), 0o002))
_COMPLAINTS: Final = ("Permission", "permission", "Errno 13", "Could not", "Ignor", "not permitted")


@dataclass(slots=True)
class Team:
    """A view that three users share, and a Hub."""

    view: Mounted
    hub: LocalHub
    anna: Member
    ben: Member
    cara: Member

    def content(self, repo: str, kind: str = "models") -> int:
        """How many bytes of a repository the Hub has sent."""
        return sum(one.sent for one in self.hub.requests(repo, kind=kind))

    def check_rights(self) -> None:
        """In the plain directory, too, all of the cache is the group's; secrets are not."""
        self.view.umount()
        for path in [self.view.path, *self.view.path.rglob("*")]:
            st = path.lstat()
            if stat.S_ISLNK(st.st_mode):
                continue
            bits = stat.S_IMODE(st.st_mode)
            if path.name in ("token", "stored_tokens", "stored_tokens.lock"):
                assert not bits & 0o077, f"{path}: {bits:o}"
                continue
            assert st.st_gid == TEAM, path
            assert bits >> 3 & 7 == bits >> 6 & 7, f"{path}: {bits:o}"
            assert not stat.S_ISDIR(st.st_mode) or bits & stat.S_ISGID, f"{path}: {bits:o}"


@pytest.fixture
def team(hub: LocalHub, open_to_all: Path, mounted: Callable[..., Mounted]) -> Iterator[Team]:
    view = mounted(open_to_all / "cache", "--team", str(TEAM))
    with program_within_reach(open_to_all) as program:
        members = [Member.make(user, view.path, hub.url, open_to_all, program) for user in USERS]
        yield Team(view, hub, *members)


def quiet(member: Member, *arguments: str, **env: str) -> str:
    """What `hf` says to a member; fails where it complains of rights."""
    done = member.hf(*arguments, **env)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not [line for line in said.splitlines() if any(word in line for word in _COMPLAINTS)], said
    return done.stdout


def test_a_download_is_for_all_who_share_it(team: Team) -> None:
    """huggingface_hub #1141: blobs 0600. #2580, #3714: locks 0644. #4600: a second download by another user."""
    team.hub.add("team/one", {"model.bin": noise("one", 2_000_000), "config.json": b"{}", "sub/a.txt": b"a"})
    quiet(team.anna, "download", "team/one")
    sent = team.content("team/one")
    for member in (team.ben, team.cara):
        quiet(member, "download", "team/one")
        quiet(member, "download", "team/one", HF_HUB_OFFLINE="1")
        quiet(member, "cache", "verify", "team/one", "--fail-on-missing-files")
    assert team.content("team/one") == sent
    team.check_rights()


def test_a_member_updates_what_another_downloaded(team: Team) -> None:
    """A new revision by Ben of what Anna has: refs, trees and locks are hers. Then by force, over her blobs."""
    team.hub.add("team/moving", {"model.bin": noise("old", 500_000), "config.json": b"{}"})
    quiet(team.anna, "download", "team/moving")
    commit = team.hub.add("team/moving", {"model.bin": noise("new", 500_000), "config.json": b"{}"})
    quiet(team.ben, "download", "team/moving")
    repository = team.view.path / "hub/models--team--moving"
    assert (repository / "refs/main").read_text() == commit
    quiet(team.cara, "download", "team/moving", "--force-download")
    model = repository / f"snapshots/{commit}/model.bin"
    assert model.read_bytes() == noise("new", 500_000)
    assert model.stat().st_uid == team.cara.user.uid
    assert len(list((repository / "blobs").iterdir())) == 3
    quiet(team.anna, "download", "team/moving", HF_HUB_OFFLINE="1")
    quiet(team.ben, "cache", "prune", "--yes")
    assert len(list((repository / "snapshots").iterdir())) == 1
    quiet(team.ben, "cache", "rm", "model/team/moving", "--yes")
    assert not repository.exists()
    team.check_rights()


def test_three_download_at_once(team: Team) -> None:
    team.hub.add("team/at-once", {f"part-{at}.bin": noise(f"at once {at}", 1_000_000) for at in range(6)})
    members = (team.anna, team.ben, team.cara)
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(quiet, member, "download", "team/at-once") for member in members]:
            done.result()
    assert team.content("team/at-once") == 6_000_000
    team.check_rights()


@pytest.fixture
def hub_by_xet(open_to_all: Path) -> Iterator[LocalHub]:
    """A Hub with three repositories of the same weights, by Xet. Its clients open the database that stands for Xet's
    servers themselves, so all of it has to be open to them."""
    weights = noise("team xet", 3_000_000)
    with LocalHub(open_to_all / "hub") as hub:
        for name in ("x1", "x2", "x3"):
            hub.add(f"team/{name}", {"model.safetensors": weights, "config.json": name.encode()}, xet=True)
        subprocess.run(["chmod", "-R", "a+rwX", open_to_all / "hub"], check=True)
        yield hub


def test_the_shared_store_of_what_came_by_xet(team: Team, hub_by_xet: LocalHub) -> None:
    """Files of 0444 in `hub/blobs/`, lists and locks beside them that each member adds to, and `rm` by another."""
    here = {"HF_ENDPOINT": hub_by_xet.url}
    for member, name in ((team.anna, "x1"), (team.ben, "x2"), (team.cara, "x3")):
        quiet(member, "download", f"team/{name}", **here)
    (stored,) = (path for path in (team.view.path / "hub/blobs").glob("??/*") if "." not in path.name)
    assert stat.S_IMODE(stored.stat().st_mode) == 0o440
    assert {line.split("/")[0] for line in stored.with_name(f"{stored.name}.refs").read_text().split()} == {
        f"models--team--x{at}" for at in (1, 2, 3)
    }
    for name in ("x1", "x2", "x3"):
        (blob,) = (path for path in (team.view.path / f"hub/models--team--{name}/blobs").iterdir() if path.is_symlink())
        assert blob.resolve() == stored
    quiet(team.ben, "cache", "rm", "model/team/x1", "--yes")
    assert stored.exists()
    quiet(team.cara, "cache", "rm", "model/team/x2", "model/team/x3", "--yes")
    assert not stored.exists()
    team.check_rights()


def test_a_dataset_is_built_once_and_built_again_by_another(team: Team) -> None:
    """datasets #6589: locks of the builder's are 0644. #7900: the second user gets "Permission denied"."""
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": [f"row {at}" for at in range(500)]}), file)
    files = {"data/train-00000-of-00001.parquet": file.getvalue(), "README.md": b"---\nlicense: mit\n---\n"}
    team.hub.add("team/rows", files, kind="datasets")
    assert team.anna.run("dataset_cache", "team/rows", "reuse") == {"rows": 500, "written": 3}
    for member in (team.ben, team.cara):
        assert member.run("dataset_cache", "team/rows", "reuse") == {"rows": 500, "written": 0}
    assert team.ben.run("dataset_cache", "team/rows", "force") == {"rows": 500, "written": 3}
    assert team.anna.run("dataset_cache", "team/rows", "force") == {"rows": 500, "written": 3}
    assert team.cara.run("dataset_cache", "team/rows", "reuse") == {"rows": 500, "written": 0}
    team.check_rights()


def test_code_that_comes_with_a_model(team: Team, tmp_path: Path) -> None:
    """transformers #37395: `modules/` is the first user's. Here all use it, and a new revision is another's to add."""
    make_remote_code(tmp_path / "made")
    team.hub.add_folder("team/doubling", tmp_path / "made")
    for member in (team.anna, team.ben):
        assert member.run("remote_code", "team/doubling") == ["Doubling", 8.0]
    with (tmp_path / "made/modeling_doubling.py").open("a") as code:
        code.write("\n\nVERSION = 2\n")
    team.hub.add_folder("team/doubling", tmp_path / "made")
    assert team.cara.run("remote_code", "team/doubling") == ["Doubling", 8.0]
    team.check_rights()


def test_each_member_has_a_token_and_sees_no_others(team: Team) -> None:
    """Without --team the second user's client dies of PermissionError on `token`. What is asked for by whom tells."""
    team.view.expect_logged.append("may not make")
    team.hub.add("team/public", {"config.json": b"{}"})
    annas, bens = (f"hf_{letter * 34}" for letter in "ab")

    def used(member: Member, **env: str) -> set[str | None]:
        asked = len(team.hub.requests())
        quiet(member, "download", "team/public", "--force-download", **env)
        return {one.authorization for one in team.hub.requests()[asked:]}

    team.anna.hf_ok("auth", "login", "--token", annas)
    assert used(team.anna) == {f"Bearer {annas}"}
    assert used(team.ben) == {None}
    refused = team.ben.hf("auth", "login", "--token", bens)
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr
    assert "HF_TOKEN_PATH" in team.view.log()
    assert used(team.ben) == {None}
    own = {"HF_TOKEN_PATH": str(team.ben.scratch / "token")}
    team.ben.hf_ok("auth", "login", "--token", bens, **own)
    assert used(team.ben, **own) == {f"Bearer {bens}"}
    assert used(team.anna) == {f"Bearer {annas}"}
    team.anna.hf_ok("auth", "logout")
    assert used(team.anna) == {None}
    assert used(team.ben, **own) == {f"Bearer {bens}"}
    team.check_rights()
