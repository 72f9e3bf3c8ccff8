"""A cache that a group shares: what each member may do with what the others made, and whose secrets are whose."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.elsewhere import Elsewhere
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted, ipfsfs
from tests.support.repositories import downloaded
from tests.support.team import ANNA, BEN, CARA, MEMBERS, OTTO, ROOT, TEAM
from tests.support.users import User

pytestmark = [pytest.mark.root, pytest.mark.filesystem]


def modes(root: Path) -> dict[str, tuple[str, int, int]]:
    """Of each file and directory below a directory: mode, owner, group."""
    found = {}
    for path in sorted(root.rglob("*")):
        st = path.lstat()
        if not stat.S_ISLNK(st.st_mode):
            found[str(path.relative_to(root))] = (oct(st.st_mode), st.st_uid, st.st_gid)
    return found


MAKE: Final = """
os.mkdir(f"d{os.getuid()}")
os.chdir(f"d{os.getuid()}")
os.makedirs("a/b", mode=0o700)
for name, mode in (("0600", 0o600), ("0644", 0o644), ("0666", 0o666), ("0444", 0o444), ("0755", 0o755)):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode))
    os.close(os.open(f"chmod-{name}", os.O_CREAT | os.O_WRONLY, 0o600))
    os.chmod(f"chmod-{name}", mode)
os.mkdir("closed"); os.chmod("closed", 0o700)
os.mkfifo("fifo"); os.symlink("0600", "link"); os.link("0644", "hard"); os.mknod("node", stat.S_IFREG | 0o600)
"""
USE: Final = """
for uid in (4001, 4002, 4003):
    os.chdir(f"d{uid}")
    for name in ("0600", "0644", "0666", "chmod-0600", "hard", "node", "link"):
        do(lambda: os.close(os.open(name, os.O_RDWR)))
        do(lambda: os.close(os.open(name, os.O_RDWR | os.O_CREAT, 0o600)))
    for name in ("0444", "chmod-0444", "0755"):
        do(lambda: os.close(os.open(name, os.O_RDONLY)))
    for directory in (".", "a", "a/b", "closed"):
        name = f"{directory}/of-{os.getuid()}"
        do(lambda: os.mkdir(name))
        do(lambda: os.rename(name, name + ".new"))
        do(lambda: os.rmdir(name + ".new"))
        do(lambda: os.close(os.open(directory, os.O_RDONLY)))
    do(lambda: os.utime("0600"))
    os.chdir("..")
"""


def test_what_one_makes_all_can_use_update_and_remove_whatever_umask_and_chmod(team: Mounted) -> None:
    for member in MEMBERS:
        member.run(MAKE, team.path)
    made = modes(team.path)
    for path, (mode, owner, group) in made.items():
        assert group == TEAM, path
        assert owner == int(path.split("/")[0].removeprefix("d")), path
        bits = int(mode, 8)
        assert bits >> 3 & 7 == bits >> 6 & 7, f"{path}: {mode}"
        assert not bits & 7, f"{path}: {mode}"
        if stat.S_ISDIR(bits):
            assert bits & stat.S_ISGID, f"{path}: {mode}"
    for member in MEMBERS:
        assert set(member.run(USE, team.path)) == {None}
    assert OTTO.run("do(lambda: os.listdir('cache'))\ndo(lambda: os.stat('cache/d4001'))", team.path.parent) == [
        "EACCES",
        "EACCES",
    ]
    team.umount()
    assert modes(team.path) == made
    for member in MEMBERS:
        assert set(member.run(USE, team.path)) == {None}
    team.mount()
    assert set(BEN.run("import shutil\ndo(lambda: shutil.rmtree('d4001'))", team.path)) == {None}


def test_others_get_what_the_directory_gives_them_and_no_more(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    (open_to_all / "cache").mkdir()
    os.chown(open_to_all / "cache", 0, TEAM)
    (open_to_all / "cache").chmod(0o2775)
    team = mounted(open_to_all / "cache", "--team", str(TEAM))
    for member in MEMBERS:
        member.run(MAKE, team.path)
    for path, (mode, _, _) in modes(team.path).items():
        bits = int(mode, 8)
        if not path.endswith("closed") and "chmod" not in path:
            assert bits & 7 == bits >> 6 & 5, f"{path}: {mode}"
    read = "for uid in (4001, 4002, 4003):\n do(lambda: open(f'd{uid}/0600').read())\n"
    write = "do(lambda: open('d4003/0666', 'a'))\ndo(lambda: os.mkdir('d4003/x'))"
    assert OTTO.run(read + write, team.path) == ["", "", "", "EACCES", "EACCES"]
    made = OTTO.run("do(lambda: os.listdir('d4003/closed'))", team.path)
    assert made == ["EACCES"]
    ANNA.run("os.mkdir('own'); os.chmod('own', 0o700); open('own/f', 'w').close()", team.path)
    assert OTTO.run("do(lambda: open('own/f'))", team.path) == ["EACCES"]
    assert oct((team.path / "own/f").stat().st_mode) == "0o100660"


def test_what_is_not_here_is_the_teams_too_and_when_it_comes(
    open_to_all: Path, mounted: Callable[..., Mounted], elsewhere: Elsewhere
) -> None:
    """Attached by root: every member reads it, which has it come, and then changes and removes it."""
    root = elsewhere.publish({"d/a": b"a" * 300_000, "d/b": b"b" * 300_000, "d/c": b"c" * 300_000})
    view = mounted(open_to_all / "cache", "--team", str(TEAM), *elsewhere.options)
    ipfsfs("attach", root, view.path / "tree")
    assert stat.S_IMODE((view.path / "tree/d").stat().st_mode) == 0o2770
    for state in ("not here", "here"):
        for name in "abc":
            st = (view.path / "tree/d" / name).stat()
            assert (oct(st.st_mode), st.st_gid) == ("0o100664", TEAM), state
        assert CARA.run("do(lambda: len(open('tree/d/a', 'rb').read()))", view.path) == [300_000]
        view.settle()
    assert BEN.run("do(lambda: open('tree/d/b', 'ab').write(b'more'))", view.path) == [4]
    assert ANNA.run("do(lambda: os.unlink('tree/d/c'))\ndo(lambda: os.rename('tree/d/b', 'b'))", view.path) == [
        None,
        None,
    ]
    assert OTTO.run("do(lambda: open('cache/b'))", open_to_all) == ["EACCES"]
    view.umount()
    st = (view.path / "tree/d/a").stat()
    assert (oct(st.st_mode), st.st_gid) == ("0o100664", TEAM)


def test_another_members_download_is_gone_on_with(team: Mounted) -> None:
    """As clients do that append to `.incomplete`: the file is Anna's and stays it, whoever completes it."""
    blobs = "models--o--r/blobs"
    ANNA.run(f"os.makedirs({blobs!r})\nwith open('{blobs}/x.incomplete', 'wb') as file: file.write(b'half')", team.path)
    go_on = f"""
with open("{blobs}/x.incomplete", "ab") as file: file.write(b"whole")
do(lambda: os.chmod("{blobs}/x.incomplete", 0o644))
os.rename("{blobs}/x.incomplete", "{blobs}/x")
do(lambda: shown("{blobs}/x"))
"""
    assert BEN.run(go_on, team.path) == ["EPERM", ("0o100660", ANNA.uid, TEAM, 1)]
    assert CARA.run(f"do(lambda: open('{blobs}/x', 'rb').read())", team.path) == [b"halfwhole"]


@pytest.mark.parametrize("copier", ["cp -a tree/. {}", "tar -C tree -c . | tar -C {} -xp", "rsync -a tree/ {}"])
@pytest.mark.parametrize("who", [ANNA, ROOT])
def test_a_tree_that_is_copied_in_with_all_it_has_fits(
    team: Mounted, open_to_all: Path, copier: str, who: User
) -> None:
    """As a member brings what was downloaded at home: with its modes and its group."""
    if shutil.which(copier.split()[0]) is None:
        pytest.skip(f"{copier.split()[0]} is not installed")
    home = open_to_all / "home"
    home.mkdir()
    os.chown(home, ANNA.uid, ANNA.uid)
    ANNA.run("os.makedirs('tree/blobs')\nopen('tree/blobs/x', 'w').close()\nopen('tree/token', 'w').close()", home)
    ANNA.run("os.mkdir('in')", team.path)
    done = who.command(["/bin/sh", "-c", copier.format(team.path / "in")], home)
    assert done.returncode == 0, done.stderr
    own = oct(stat.S_IFREG | 0o600)
    assert modes(team.path / "in") == {
        "blobs": (oct(stat.S_IFDIR | 0o2770), ANNA.uid, TEAM),
        "blobs/x": (oct(stat.S_IFREG | 0o660), ANNA.uid, TEAM),
        "token": (own, ANNA.uid, (team.path / "in/token").stat().st_gid),
    }


def test_locks_of_members_exclude_each_other(team: Mounted) -> None:
    lock = """
import fcntl, sys
fd = os.open("x.lock", os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", f"import os\nos.umask(0o077)\nos.chdir({str(team.path)!r})\n{lock}"],
        user=ANNA.uid, group=ANNA.uid, extra_groups=ANNA.groups, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        tried = "import fcntl\nfd = os.open('x.lock', os.O_RDWR | os.O_CREAT, 0o644)\n"
        tried += "do(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))"
        assert BEN.run(tried, team.path) == ["EAGAIN"]
        holder.communicate("\n")
    assert BEN.run(tried, team.path) == [None]


def test_what_is_made_in_a_directory_of_another_group_is_the_teams(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    """One that passes on its own group, or has no set-group-id: from before there was a team."""
    cache = open_to_all / "cache"
    cache.mkdir()
    for name, mode in (("passes-on", 0o2777), ("plain", 0o777)):
        (cache / name).mkdir()
        os.chown(cache / name, 0, 5_002)
        (cache / name).chmod(mode)
    view = mounted(cache, "--team", str(TEAM))
    for name in ("passes-on", "plain"):
        script = "os.mkdir('d'); open('f', 'w').close(); os.mkfifo('p'); os.symlink('f', 'l')\n"
        script += "for name in 'dfpl': do(lambda: shown(name)[:3])"
        assert ANNA.run(script, view.path / name) == [
            ("0o42775", ANNA.uid, TEAM),
            ("0o100664", ANNA.uid, TEAM),
            ("0o10664", ANNA.uid, TEAM),
            ("0o120777", ANNA.uid, TEAM),
        ]


def test_what_is_healed_is_the_teams(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    """What was overwritten keeps owner and rights; what was removed is made anew, as its directory has them."""
    with LocalHub(open_to_all / "the-hub") as hub:
        view = mounted(open_to_all / "cache", "--team", str(TEAM), "--hub", hub.url)
        repository = downloaded(view, hub, "org/name", {"a.safetensors": b"a" * 300_000, "b.bin": b"b" * 300_000})
        blobs = {name: repository.blob(name) for name in ("a.safetensors", "b.bin")}
        view.seal()
        for blob in blobs.values():
            os.chown(blob, ANNA.uid, -1)
        view.expect_logged.append("broken promise")
        BEN.run(f"with open({str(blobs['a.safetensors'])!r}, 'r+b') as file: file.write(b'tool')", view.path)
        BEN.run(f"os.unlink({str(blobs['b.bin'])!r})", view.path)
        view.seal()
        view.run("restore", *blobs.values())
        rights = {name: (oct(path.stat().st_mode), path.stat().st_gid) for name, path in blobs.items()}
        assert rights == {"a.safetensors": ("0o100660", TEAM), "b.bin": ("0o100660", TEAM)}
        assert blobs["a.safetensors"].stat().st_uid == ANNA.uid
        for name, path in blobs.items():
            assert path.read_bytes() == name[:1].encode() * 300_000
