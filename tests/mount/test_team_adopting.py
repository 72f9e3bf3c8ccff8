"""What `mount --team` says, does about files that are there, and refuses; and who starts it: fstab and systemd."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from tests.support.checkouts import SCRIPTS
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.users import NOBODY, User, program_within_reach

pytestmark = pytest.mark.root

TEAM: Final = 5_001
ANNA: Final = User(4_001, (TEAM,), umask=0o077)
BEN: Final = User(4_002, (TEAM,))


def old_cache(at: Path) -> None:
    """A cache as Anna had it before there was a team, with a secret, and a link that leads out of it."""
    at.mkdir()
    os.chown(at, ANNA.uid, ANNA.uid)
    ANNA.run(
        """
os.makedirs("hub/models--o--r/blobs"); os.makedirs("hub/models--o--r/refs")
for name, mode in (("hub/models--o--r/blobs/x", 0o600), ("hub/models--o--r/refs/main", 0o644), ("exe", 0o700)):
    with open(name, "w") as file: file.write("content")
    os.chmod(name, mode)
with open("token", "w") as file: file.write("secret")
os.chmod("token", 0o644)
os.symlink("../outside", "out")
os.mkfifo("fifo")
os.mkdir("closed"); os.chmod("closed", 0o500)
""",
        at,
    )


def rights(path: Path) -> tuple[str, int, int]:
    st = path.lstat()
    return oct(stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid


def test_what_does_not_fit_is_named_and_stays_until_it_is_adopted(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    cache, outside = open_to_all / "cache", open_to_all / "outside"
    outside.write_text("of nobody's concern")
    outside.chmod(0o600)
    old_cache(cache)
    before = {path: rights(path) for path in [cache, *cache.rglob("*")]}
    said = ipfsfs("mount", "--team", str(TEAM), cache).stdout
    assert "HF_TOKEN_PATH" in said
    # Six directories with the top one, and three files; not the secret, the link, the fifo.
    assert "9 of 12 files and directories" in said, said
    named = {Path(line.strip()) for line in said.splitlines() if line.startswith(f"  {cache}")}
    assert f"and {9 - len(named - {cache / 'token'})} more" in said, said
    assert named < {cache, *(cache / name for name in ("token", "exe", "closed", "hub")), *cache.glob("hub/**/*")}
    assert f"ipfsfs mount --team {TEAM} --adopt {cache}" in said
    assert f"chmod 600:\n  {cache}/token" in said
    ipfsfs("umount", cache)
    assert {path: rights(path) for path in [cache, *cache.rglob("*")]} == before

    view = mounted(cache, "--team", str(TEAM))
    view.seal()
    sealed = view.status()["sealed"]
    assert sealed == 3
    assert BEN.run("do(lambda: open('hub/models--o--r/blobs/x'))", cache) == ["EACCES"]
    said = ipfsfs("mount", "--team", str(TEAM), "--adopt", cache).stdout
    assert "9 files and directories were given to the group" in said, said
    assert BEN.run("do(lambda: open('hub/models--o--r/blobs/x', 'a').close())", cache) == [None]
    assert BEN.run("do(lambda: os.rename('hub/models--o--r/refs', 'closed/refs'))", cache) == [None]
    assert BEN.run("do(lambda: os.path.exists('token'))", cache) == [False]
    assert rights(outside) == ("0o600", 0, 0)
    assert rights(cache) == ("0o2775", ANNA.uid, TEAM)
    assert rights(cache / "hub/models--o--r/blobs/x") == ("0o660", ANNA.uid, TEAM)
    assert rights(cache / "exe") == ("0o770", ANNA.uid, TEAM)
    assert rights(cache / "token") == ("0o644", ANNA.uid, ANNA.uid)
    assert rights(cache / "out") == before[cache / "out"]
    assert view.status()["sealed"] == sealed, "what was sealed had to be read again"
    again = ipfsfs("mount", "--team", str(TEAM), "--adopt", cache).stdout
    assert "0 files and directories were given" in again
    view.umount()
    assert rights(cache / "hub/models--o--r/blobs/x") == ("0o660", ANNA.uid, TEAM)
    assert "files and directories" not in ipfsfs("mount", "--team", str(TEAM), cache).stdout


def test_adopting_while_mounting_names_what_cannot_be_changed(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    cache = open_to_all / "cache"
    old_cache(cache)
    fixed = cache / "hub/models--o--r/blobs/x"
    (cache / "suid").write_bytes(b"")
    (cache / "suid").chmod(0o4755)
    subprocess.run(["chattr", "+i", fixed], check=True)
    try:
        view = Mounted(cache, ("--team", str(TEAM)))
        said = ipfsfs("mount", "--adopt", *view.arguments, cache).stdout
        assert "8 files and directories were given to the group" in said, said
        assert "2 files could not be given to it" in said
        assert f"{fixed}: Operation not permitted" in said
        assert f"{cache / 'suid'}: it has a set-user-id" in said
        assert rights(cache / "suid") == ("0o4755", 0, 0)
        view.umount()
    finally:
        subprocess.run(["chattr", "-i", fixed], check=True)
    said = ipfsfs("mount", "--adopt", *view.arguments, cache).stdout
    assert "1 file or directory was given" in said, said
    view.finish()


def test_a_new_directory_is_the_groups(open_to_all: Path) -> None:
    for at, expected in ((open_to_all / "new", 0o2770), (open_to_all / "empty", 0o2775)):
        if at.name == "empty":
            at.mkdir()
            at.chmod(0o755)
        view = Mounted(at, ("--team", str(TEAM))).mount()
        assert rights(at) == (oct(expected), 0, TEAM)
        ANNA.run("os.mkdir('x')", at)
        assert rights(at / "x")[2] == TEAM
        view.finish()


def test_a_member_who_owns_the_cache_does_not_close_it_by_a_login(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    """`hf auth login` closes the directory of the token, which is the cache itself, to all but its owner."""
    (open_to_all / "cache").mkdir()
    os.chown(open_to_all / "cache", ANNA.uid, TEAM)
    mounted(open_to_all / "cache", "--team", str(TEAM))
    ANNA.run("os.chmod('.', 0o700)", open_to_all / "cache")
    assert rights(open_to_all / "cache") == ("0o2770", ANNA.uid, TEAM)
    assert BEN.run("do(lambda: os.mkdir('x'))", open_to_all / "cache") == [None]


def test_a_group_that_is_not_and_a_user_who_may_not(open_to_all: Path) -> None:
    done = ipfsfs("mount", "--team", "no-such-group", open_to_all / "x", check=False)
    assert done.returncode == 2
    assert "there is no group no-such-group" in done.stderr
    assert "groupadd no-such-group" in done.stderr
    assert not (open_to_all / "x").exists()
    done = ipfsfs("mount", "--adopt", open_to_all / "x", check=False)
    assert done.returncode == 2
    assert "--team GROUP" in done.stderr
    home = open_to_all / "home"
    home.mkdir()
    os.chown(home, NOBODY.uid, NOBODY.uid)
    with program_within_reach(open_to_all) as program:
        done = NOBODY.command(
            [program["python"], "-m", "ipfsfs", "mount", "--team", str(TEAM), home / "cache"],
            home,
            HOME=str(home),
            PYTHONPATH=program["PYTHONPATH"],
        )
    assert done.returncode == 5
    assert "--team needs root" in done.stderr


def test_a_view_that_is_mounted_for_another_group_says_so(open_to_all: Path) -> None:
    view = Mounted(open_to_all / "cache", ("--team", str(TEAM))).mount()
    done = ipfsfs("mount", "--team", "5002", view.path)
    assert f"--team 5002 is not in force (in force: {TEAM})." in done.stdout
    done = ipfsfs("mount", "--team", "5002", "--adopt", view.path, check=False)
    assert done.returncode == 5
    assert view.status()["team"] == str(TEAM)
    assert "HF_TOKEN_PATH" in ipfsfs("status", view.path).stdout
    view.finish()


def test_a_directory_with_a_default_acl_keeps_its_own_rule(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    """Whom its list names gets no more than it says, by a chmod neither; the group has what it is given there."""
    cache = open_to_all / "cache"
    cache.mkdir()
    os.chown(cache, 0, TEAM)
    cache.chmod(0o2770)
    other = User(4_009)
    (cache / "d").mkdir()
    os.chown(cache / "d", ANNA.uid, TEAM)
    (cache / "d").chmod(0o2770)
    acl = f"u:{other.uid}:rx,d:u::rwx,d:u:{other.uid}:rwx,d:g::rwx,d:m::r,d:o::-"
    subprocess.run(["setfacl", "-m", acl, cache / "d"], check=True)
    subprocess.run(["setfacl", "-m", f"u:{other.uid}:rx", cache], check=True)
    mounted(cache, "--team", str(TEAM))
    ANNA.run("with open('d/f', 'w') as file: file.write('x')\nos.chmod('d/f', 0o600)", cache)
    tried = "do(lambda: open('d/f').read())\ndo(lambda: open('d/f', 'a'))"
    assert other.run(tried, cache) == ["x", "EACCES"]
    assert BEN.run(tried, cache) == ["x", "EACCES"]


def test_fstab_and_the_units_know_the_team(open_to_all: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / "mount.ipfsfs", "none", open_to_all / "cache", "-fv", "-o", f"team={TEAM},adopt,nofail"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"mount --team {TEAM} --adopt -- {open_to_all}/cache" in done.stderr
    done = subprocess.run(
        [SCRIPTS / "install-units", "--system", "--team", "ml", "/srv/hugging face"],
        env=environment(DESTDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (drop_in,) = tmp_path.rglob("team.conf")
    assert drop_in.parent.name.startswith("ipfsfs@srv-hugging")
    assert "Environment=IPFSFS_TEAM=ml" in drop_in.read_text()
    assert "HF_TOKEN_PATH" in done.stdout + done.stderr
    done = subprocess.run(
        [SCRIPTS / "install-units", "--team", "ml"],
        env=environment(DESTDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2


def test_a_service_in_the_foreground_says_and_adopts(open_to_all: Path) -> None:
    cache = open_to_all / "cache"
    old_cache(cache)
    with subprocess.Popen(
        ["python3", "-m", "ipfsfs", "mount", "--foreground", "--team", str(TEAM), "--adopt", cache],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stderr is not None
        said = ""
        while "serving" not in said:
            line = service.stderr.readline()
            assert line, said
            said += line
        assert "9 files and directories were given to the group" in said
        assert "HF_TOKEN_PATH" in said
        assert mounts.view_at(cache) is not None
        assert BEN.run("do(lambda: open('hub/models--o--r/blobs/x').read())", cache) == ["content"]
        ipfsfs("umount", cache)
        service.communicate(timeout=30)
