"""A cache that a group shares: what each member may do with what the others made, and whose secrets are whose."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.support.mounted import Mounted
from tests.support.users import User

pytestmark = [pytest.mark.root, pytest.mark.filesystem]

TEAM: Final = 5_001
ANNA: Final = User(4_001, (TEAM,), umask=0o077)
BEN: Final = User(4_002, (TEAM,), umask=0o022)
CARA: Final = User(4_003, (TEAM,), umask=0)
OTTO: Final = User(4_004, (), umask=0o022)
"""Not of the team."""
ROOT: Final = User(0)
MEMBERS: Final = (ANNA, BEN, CARA)


@pytest.fixture
def team(open_to_all: Path, mounted: Callable[..., Mounted]) -> Mounted:
    """A view of a new directory, for a team."""
    (open_to_all / "cache").mkdir()
    (open_to_all / "cache").chmod(0o770)
    return mounted(open_to_all / "cache", "--team", str(TEAM))


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


SECRETS: Final = ("token", "stored_tokens", ".env", "accelerate/default_config.yaml", "x.pem")


def test_a_secret_is_its_owners_and_for_others_it_is_not_there(team: Mounted) -> None:
    """In every order of asking, so that nothing that the kernel keeps for one user is another's."""
    team.expect_logged.append("may not make")
    names = repr(SECRETS)
    look = f"""
for name in {names}:
    do(lambda: os.stat(name).st_size)
    do(lambda: open(name).read())
    do(lambda: os.path.basename(name) in os.listdir(os.path.dirname(name) or "."))
    do(lambda: os.path.lexists(name))
    do(lambda: os.path.basename(name) in [entry.name for entry in os.scandir(os.path.dirname(name) or ".")])
"""
    absent, there = ["ENOENT", "ENOENT", False, False, False], [4, "anna", True, True, True]
    BEN.run("os.makedirs('accelerate')", team.path)
    for member in (*MEMBERS, *MEMBERS):
        assert member.run(look, team.path) == absent * len(SECRETS)
    ANNA.run(
        f"for name in {names}:\n with open(name, 'w') as file: file.write('anna')\n os.chmod(name, 0o644)", team.path
    )
    for member in (BEN, ANNA, CARA, ANNA, ANNA, BEN, BEN, ANNA, ROOT, BEN, CARA, ANNA):
        expected = there if member in (ANNA, ROOT) else absent
        assert member.run(look, team.path) == expected * len(SECRETS), f"user {member.uid}"
    for name in SECRETS:
        st = (team.path / name).stat()
        assert (stat.S_IMODE(st.st_mode), st.st_uid) == (0o600, ANNA.uid)
    make = f"""
for name in {names}:
    other = os.path.join(os.path.dirname(name), "other")
    def write(flags):
        os.close(os.open(name, flags, 0o600))
    do(lambda: write(os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
    do(lambda: write(os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    do(lambda: os.mkdir(name))
    do(lambda: os.symlink("x", name))
    do(lambda: os.mknod(name, stat.S_IFREG | 0o600))
    open(other, "w").close()
    do(lambda: os.link(other, name))
    do(lambda: os.rename(other, name))
    os.unlink(other)
    do(lambda: os.unlink(name))
    do(lambda: os.rename(name, other))
    do(lambda: os.chmod(name, 0o666))
"""
    assert BEN.run(make, team.path) == (["EACCES"] * 7 + ["ENOENT"] * 3) * len(SECRETS)
    assert ANNA.run(look, team.path) == there * len(SECRETS)
    assert "HF_TOKEN_PATH" in team.log()
    ANNA.run("os.unlink('token')", team.path)
    assert BEN.run(
        "with open('token', 'w') as file: file.write('ben')\ndo(lambda: open('token').read())", team.path
    ) == ["ben"]
    assert ANNA.run("do(lambda: open('token').read())", team.path) == ["ENOENT"]


def test_lookups_at_the_same_time_get_each_their_own_answer(team: Mounted) -> None:
    """One user sees the file and another does not, though both ask for one name in one directory all the time."""
    ANNA.run("with open('token', 'w') as file: file.write('anna')", team.path)
    ask = """
import threading
def ask():
    for _ in range(1500):
        try: os.stat("token"); came.append(True)
        except OSError as error: came.append(error.errno)
        came.append("token" in os.listdir("."))
threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
came[:] = sorted(set(map(str, came)))
"""
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(member.run, ask, team.path) for member in MEMBERS]
    assert [one.result() for one in asked] == [["True"], ["2", "False"], ["2", "False"]]


def test_no_member_makes_a_secret_for_another(team: Mounted) -> None:
    """A file of Anna's that Ben may write would be taken for her token, were it given that name."""
    team.expect_logged.append("may not make")
    ANNA.run("open('notes', 'w').close()", team.path)
    plant = """
with open("notes", "w") as file: file.write("ben's token")
do(lambda: os.rename("notes", "token"))
do(lambda: os.link("notes", "token"))
"""
    assert BEN.run(plant, team.path) == ["EACCES", "EACCES"]
    assert ANNA.run("do(lambda: os.path.exists('token'))", team.path) == [False]


@pytest.mark.parametrize("how", ["os.rename", "os.link", "os.replace"])
def test_what_gets_a_secrets_name_loses_the_rights_of_the_group(team: Mounted, how: str) -> None:
    script = f"with open('tmpabcd1234', 'w') as file: file.write('anna')\n{how}('tmpabcd1234', 'token')"
    CARA.run(script, team.path)
    assert stat.S_IMODE((team.path / "token").stat().st_mode) == 0o600
    assert CARA.run("do(lambda: open('token').read())", team.path) == ["anna"]
    if how == "os.link":
        (team.path / "tmpabcd1234").unlink()


def test_a_directory_with_anothers_secret_stays(team: Mounted) -> None:
    ANNA.run("os.makedirs('accelerate'); open('accelerate/default_config.yaml', 'w').close()", team.path)
    assert BEN.run("do(lambda: os.listdir('accelerate'))\ndo(lambda: os.rmdir('accelerate'))", team.path) == [
        [],
        "ENOTEMPTY",
    ]


def test_a_repository_may_hold_what_is_named_like_a_secret(team: Mounted) -> None:
    """Links of snapshots are nobody's secrets, whoever downloaded them."""
    snapshot = f"models--o--r/snapshots/{'0' * 40}"
    ANNA.run(
        f"os.makedirs({snapshot!r}); os.makedirs('models--o--r/blobs')\n"
        f"with open('models--o--r/blobs/{'1' * 40}', 'w') as file: file.write('public')\n"
        f"os.symlink('../../blobs/{'1' * 40}', '{snapshot}/credentials.json')",
        team.path,
    )
    read = f"do(lambda: open('{snapshot}/credentials.json').read())\ndo(lambda: os.listdir({snapshot!r}))"
    assert BEN.run(read, team.path) == ["public", ["credentials.json"]]


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
