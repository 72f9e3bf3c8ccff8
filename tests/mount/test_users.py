"""Several users: what each may do and what belongs to whom, through root's view as on plain disk."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.daemon import mounts
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.fresh_attributes import ask_for_directories
from tests.support.mounted import Mounted, clear, environment
from tests.support.processes import eventually
from tests.support.twins import tree
from tests.support.users import NOBODY, User, program_within_reach

pytestmark = [pytest.mark.root, pytest.mark.filesystem]

TEAM: Final = 5_001
OTHERS: Final = 5_002
ANNA: Final = User(4_001, (TEAM,))
BEN: Final = User(4_002, (TEAM, OTHERS), umask=0o002)
CARA: Final = User(4_003, (OTHERS,), umask=0o077)
ROOT: Final = User(0)


class Sides:
    """A view that other users are let into, and a plain directory beside it."""

    def __init__(self, mount: Mounted, plain: Path) -> None:
        self.mount, self.plain = mount, plain

    def run(self, user: User, script: str, below: str = ".") -> Any:
        """Run a script as a user on both sides; what came of it must be the same."""
        view, plain = (user.run(script, root / below) for root in (self.mount.path, self.plain))
        assert view == plain, f"user {user.uid} through the view: {view}; on plain disk: {plain}"
        assert tree(self.mount.path) == tree(self.plain)
        return view


@pytest.fixture
def sides(open_to_all: Path, mounted: Callable[..., Mounted]) -> Sides:
    for name in ("view", "disk"):
        (open_to_all / name).mkdir()
        (open_to_all / name).chmod(0o777)
    return Sides(mounted(open_to_all / "view", "--allow-other"), open_to_all / "disk")


MAKE = """
os.mkdir("d"); os.mkfifo("fifo"); os.symlink("file", "link")
with open("file", "w") as file: file.write("content")
os.mknod("node", stat.S_IFREG | 0o666)
os.link("file", "hard")
for name in ("d", "file", "fifo", "link", "node", "hard"): do(lambda: shown(name))
"""
USE = """
for name in ("d", "file", "fifo", "link", "node"):
    for mode in range(8): do(lambda: os.access(name, mode))
    do(lambda: os.chmod(name, 0o640))
    do(lambda: os.chown(name, -1, 5001))
    do(lambda: os.chown(name, 4002, -1))
    do(lambda: os.utime(name))
    do(lambda: os.utime(name, (1, 2)))
    do(lambda: os.setxattr(name, "user.a", b"1"))
    do(lambda: os.setxattr(name, "trusted.a", b"1"))
do(lambda: os.open("file", os.O_RDONLY) > 0)
do(lambda: os.open("file", os.O_WRONLY | os.O_TRUNC) > 0)
do(lambda: os.truncate("file", 3))
do(lambda: os.open("new", os.O_CREAT | os.O_WRONLY) > 0)
do(lambda: os.open("d/new", os.O_CREAT | os.O_WRONLY) > 0)
do(lambda: os.rename("file", "renamed"))
do(lambda: os.link("renamed", "second"))
do(lambda: os.unlink("hard"))
do(lambda: os.rmdir("d"))
"""


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o2775, 0o3777, 0o700])
def test_three_users_in_directories_of_every_kind(sides: Sides, mode: int) -> None:
    """Sticky, set-group-id, shared and private: who may do what, and what belongs to whom then."""
    for root in (sides.mount.path, sides.plain):
        (root / "shared").mkdir()
        os.chown(root / "shared", ANNA.uid, TEAM)
        (root / "shared").chmod(mode)
    assert len(sides.run(ANNA, MAKE, "shared")) == 6
    # Starting there needs the right to be there, which the private one gives to its owner only.
    enter = "do(lambda: os.chdir('shared'))\nif came[-1] is None:\n" + "".join(
        f"    {line}\n" for line in USE.splitlines()
    )
    for user in (CARA, BEN, ANNA, ROOT):
        sides.run(user, enter)


def test_a_group_shares_a_cache(sides: Sides) -> None:
    """What anyone downloads, every member can use and lock, and secrets stay their owner's."""
    for root in (sides.mount.path, sides.plain):
        (root / "hub").mkdir()
        os.chown(root / "hub", 0, TEAM)
        (root / "hub").chmod(0o2770)
    download = """
os.umask(0o002)
os.makedirs("hub/models--o--r/blobs"); os.makedirs("hub/.locks")
with open("hub/models--o--r/blobs/x.incomplete", "wb") as file: file.write(b"x" * 10_000)
os.rename("hub/models--o--r/blobs/x.incomplete", "hub/models--o--r/blobs/x")
os.close(os.open("hub/.locks/x.lock", os.O_CREAT | os.O_RDWR, 0o666))
fd = os.open("hub/token", os.O_CREAT | os.O_WRONLY, 0o600); os.write(fd, b"secret"); os.close(fd)
"""
    sides.run(ANNA, download)
    use = """
import fcntl
do(lambda: len(open("hub/models--o--r/blobs/x", "rb").read()))
do(lambda: fcntl.flock(os.open("hub/.locks/x.lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))
do(lambda: open("hub/token").read())
do(lambda: os.getxattr("hub/token", "user.x"))
"""
    assert sides.run(BEN, use)[:3] == [10_000, None, "EACCES"]
    assert sides.run(CARA, use)[:3] == ["EACCES"] * 3


def test_bits_that_lend_rights_go_with_a_write_of_somebody_else_or_the_owner(sides: Sides) -> None:
    script = """
for at, write in enumerate((
    lambda fd: os.write(fd, b"x"), lambda fd: os.ftruncate(fd, 1),
    lambda fd: os.fchown(fd, -1, -1),
    lambda fd: os.pwrite(fd, b"x", 100), lambda fd: os.truncate("suid", 2),
    lambda fd: os.close(os.open("suid", os.O_WRONLY | os.O_TRUNC)),
)):
    for mode in (0o4755, 0o2755, 0o6777):
        with open("suid", "wb") as file: file.write(b"content")
        os.chmod("suid", mode)
        fd = os.open("suid", os.O_RDWR)
        do(lambda: shown("suid"))
        do(lambda: write(fd) is None)
        do(lambda: shown("suid"))
        os.close(fd)
        os.unlink("suid")
"""
    for user in (ANNA, BEN):
        sides.run(user, script)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_access_control_lists(sides: Sides, umask: int) -> None:
    """A default ACL overrides the umask; an entry lets one user in; the mask limits; SGID goes where it must."""
    for root in (sides.mount.path, sides.plain):
        (root / "d").mkdir()
        os.chown(root / "d", ANNA.uid, TEAM)
        (root / "d").chmod(0o2750)
        subprocess.run(
            ["setfacl", "-m", f"u:{CARA.uid}:rwx,d:u:{CARA.uid}:rw,d:g::rx,d:o::-,d:m::rwx", root / "d"], check=True
        )
    anna = User(ANNA.uid, ANNA.groups, umask)
    sides.run(anna, MAKE, "d")
    said = [
        subprocess.run(["getfacl", "-Rn", "."], cwd=root, capture_output=True, text=True, check=True).stdout
        for root in (sides.mount.path, sides.plain)
    ]
    assert sorted(said[0].split("\n\n")) == sorted(said[1].split("\n\n"))  # in the order of a listing, which is free
    assert f"user:{CARA.uid}:rw-" in said[0]
    for user in (CARA, BEN):
        sides.run(user, USE, "d" if user is CARA else ".")
    for change in (["-m", f"u:{BEN.uid}:r", "d/node"], ["-x", f"u:{CARA.uid}", "d/node"], ["-b", "d"]):
        came = [anna.command(["setfacl", *change], root) for root in (sides.mount.path, sides.plain)]
        assert came[0].returncode == came[1].returncode == 0, came
    assert tree(sides.mount.path) == tree(sides.plain)


@pytest.fixture
def disk_with_a_reserve(open_to_all: Path) -> Iterator[Path]:
    """A small ext4 of which two fifths are for root."""
    image = new_ext4_image(open_to_all / "image", 24)
    subprocess.run(["tune2fs", "-m", "40", image], check=True, capture_output=True)
    with mounted_image(image, open_to_all / "disk") as disk:
        yield disk


def test_the_reserve_of_a_disk_is_roots_alone(
    disk_with_a_reserve: Path, open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    """A root daemon writes for others: they must not get at what the filesystem keeps for root."""
    cache = disk_with_a_reserve / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    mount = mounted(cache, "--allow-other", "--store", str(open_to_all / "store"))
    fill = """
fd = os.open("full", os.O_CREAT | os.O_WRONLY)
def write():
    while True: os.write(fd, b"x" * 65536)
do(write)
came.append(os.fstat(fd).st_size >> 20)
os.close(fd); os.unlink("full")
"""
    through = ANNA.run(fill, mount.path)
    by_root = ROOT.run(fill, mount.path)
    mount.umount()
    assert through == ANNA.run(fill, cache)
    assert by_root[1] > through[1] + 4


def test_what_was_made_beneath_a_moment_ago_is_opened_with_the_callers_rights(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    """The kernel asks to create what it does not know of yet, and then checks nothing itself."""
    for name in ("cache", "side"):
        (open_to_all / name).mkdir()
        (open_to_all / name).chmod(0o777)
    plain = os.open(open_to_all / "cache", os.O_PATH)
    view = mounted(open_to_all / "cache", "--allow-other")

    def make() -> None:
        eventually(lambda: (open_to_all / "side/looked").exists(), "the user has looked")
        for name, mode in (("private", 0o600), ("public", 0o666)):
            fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=plain)
            os.write(fd, b"content")
            os.fchmod(fd, mode)
            os.close(fd)
        (open_to_all / "side/made").touch()

    script = """
import time
do(lambda: os.stat("cache/private"))
do(lambda: os.stat("cache/public"))
open("side/looked", "w").close()
while not os.path.exists("side/made"): time.sleep(0.001)
for name in ("private", "public"):
    do(lambda: os.read(os.open(f"cache/{name}", os.O_CREAT | os.O_RDWR), 100))
"""
    with ThreadPoolExecutor() as pool:
        made = pool.submit(make)
        assert BEN.run(script, open_to_all) == ["ENOENT", "ENOENT", "EACCES", b"content"]
        made.result()
    os.close(plain)
    ask_for_directories(view.path)


def test_other_users_are_kept_out_unless_they_are_let_in(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    (open_to_all / "cache").mkdir()
    (open_to_all / "cache").chmod(0o777)
    mount = mounted(open_to_all / "cache")
    (mount.path / "file").write_bytes(b"content")
    (mount.path / "file").chmod(0o666)
    tried = "do(lambda: os.listdir('cache'))\ndo(lambda: open('cache/file').read())\ndo(lambda: os.stat('cache'))"
    assert ANNA.run(tried, open_to_all) == ["EACCES"] * 3


def test_the_control_socket_answers_its_owner_only(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    (open_to_all / "cache").mkdir()
    mount = mounted(open_to_all / "cache", "--allow-other")
    tried = f"""
import socket
def ask():
    with socket.socket(socket.AF_UNIX) as talker:
        talker.settimeout(5)
        talker.connect({str(mount.store / "control.sock")!r})
        talker.sendall(b'{{"command": "umount"}}\\n')
        return talker.recv(1000)
do(ask)
do(lambda: os.listdir({str(mount.store)!r}))
"""
    assert ANNA.run(tried, open_to_all) == ["EACCES", "EACCES"]
    mount.store.chmod(0o711)  # even where somebody opened the store
    (mount.store / "control.sock").chmod(0o666)
    assert ANNA.run(tried, open_to_all)[0] in (b"", "ECONNRESET", "EPIPE")
    mount.store.chmod(0o700)
    assert mount.mounted


def test_an_ordinary_user_mounts_uses_and_unmounts(open_to_all: Path) -> None:
    """Through fusermount3. Root and others are kept out, the daemon is the user's own, it gives the path back."""
    home = open_to_all / "home"
    home.mkdir()
    os.chown(home, NOBODY.uid, NOBODY.uid)
    cache = home / "cache"
    with program_within_reach(open_to_all) as program:

        def ipfsfs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
            return NOBODY.command(
                [program["python"], "-m", "ipfsfs", *arguments], home, HOME=str(home), PYTHONPATH=program["PYTHONPATH"]
            )

        try:
            done = ipfsfs("mount", cache)
            assert done.returncode == 0, done.stderr
            script = """
os.makedirs("models--o--r/blobs")
with open("file", "wb") as file: file.write(b"content" * 1000)
os.symlink("file", "link")
do(lambda: shown("file"))
do(lambda: open("link", "rb").read() == b"content" * 1000)
do(lambda: os.chown("file", 0, -1))
do(lambda: os.chmod("file", 0o4755))
do(lambda: os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
opened = open("file")
os.chmod("file", 0)
do(lambda: open("file"))
os.chmod("file", 0o644)
do(lambda: open("file").close())
"""
            came = NOBODY.run(script, cache)
            assert came == [("0o100644", NOBODY.uid, NOBODY.uid, 1), True, "EPERM", None, "EPERM", "EACCES", None]
            assert ipfsfs("seal", cache).returncode == 0
            (status,) = json.loads(ipfsfs("status", cache, "--json").stdout)
            assert (status["sealed"], status["degraded"]) == (1, "")
            assert "cache-symlinks" in status["features"]
            assert NOBODY.run("do(lambda: os.getxattr('file', 'ipfs.cid'))", cache)[0].startswith(b"baf")
            assert Path(f"/proc/{status['pid']}").stat().st_uid == NOBODY.uid
            with pytest.raises(PermissionError):
                os.stat(cache)
            assert BEN.run("do(lambda: os.listdir('cache'))", home) == ["EACCES"]
            os.kill(status["pid"], 9)
            eventually(lambda: mounts.view_at(cache) is None, "the path is the plain directory again")
            assert (cache / "file").read_bytes() == b"content" * 1000
            assert ipfsfs("mount", cache).returncode == 0
            done = ipfsfs("umount", cache)
            assert done.returncode == 0, done.stderr
            assert mounts.view_at(cache) is None
            done = ipfsfs("fsck", cache)
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            clear(cache)
    assert stat.S_ISREG((cache / "file").stat().st_mode)
    shutil.rmtree(home)


def test_nobody_else_makes_files_in_the_view_of_an_ordinary_user(open_to_all: Path) -> None:
    """Let in by `user_allow_other`, as in a mount namespace that has it in its /etc/fuse.conf."""
    home = open_to_all / "home"
    (home / "cache").mkdir(parents=True)
    for path in (home, home / "cache"):
        os.chown(path, NOBODY.uid, NOBODY.uid)
        path.chmod(0o777)
    (home / "cache" / "theirs").write_bytes(b"content")
    (home / "cache" / "theirs").chmod(0o666)
    (open_to_all / "fuse.conf").write_text("user_allow_other\n")
    made = "echo made >cache/made || mkdir cache/made || ln -s theirs cache/made"
    with program_within_reach(open_to_all) as program:
        command = f"PYTHONPATH={program['PYTHONPATH']} HOME={home} {program['python']} -m ipfsfs"
        script = f"""
            mount --bind {open_to_all}/fuse.conf /etc/fuse.conf
            as() {{ setpriv --reuid="$1" --regid="$1" --clear-groups sh -c "cd {home} && $2"; }}
            as {NOBODY.uid} '{command} mount --allow-other cache' >&2
            as {BEN.uid} 'cat cache/theirs && echo more >>cache/theirs'
            as {BEN.uid} '{made}' || echo ' refused'
            as {NOBODY.uid} '{command} umount cache' >&2
        """
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script], env=environment(), capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "content refused\n"), done.stderr
    assert done.stderr.count("Operation not permitted") == 3
    assert (home / "cache" / "theirs").read_bytes() == b"contentmore\n"
    assert os.listdir(home / "cache") == ["theirs"]
    shutil.rmtree(home)
    shutil.rmtree(open_to_all / "home.ipfsfs", ignore_errors=True)
