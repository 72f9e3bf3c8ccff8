"""Secrets in a cache that a group shares: another member's is absent, and nobody makes one for another."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.support.mounted import Mounted
from tests.support.team import ANNA, BEN, CARA, MEMBERS, ROOT

pytestmark = [pytest.mark.root, pytest.mark.filesystem]

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


@pytest.mark.parametrize("make", ["rename", "exchange", "link", "create"])
def test_what_becomes_a_secret_is_so_at_once(team: Mounted, make: str) -> None:
    """Though the kernel knows the file, and with which rights, by the name that it had a moment ago."""
    become = {
        "rename": "os.rename(name, 'token')",
        "exchange": "open('token', 'w').close(); os.stat('token'); exchange(name, 'token'); os.unlink(name)",
        "link": "os.link(name, 'token')",
        "create": "shutil.copyfile(name, 'token'); os.unlink(name)",
    }[make]
    script = f"""
import ctypes, shutil, time
def exchange(one, other):
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, one.encode(), -100, other.encode(), 2):
        raise OSError(ctypes.get_errno(), "renameat2")
for at in range(20):
    name = f"tmp_{{at}}"
    with open(name, "w") as file: file.write("anna")
    for _ in range(2): os.stat(name), open(name).close()
    {become}
    time.sleep(0.02)
    do(lambda: open("token").read())
    os.unlink("token")
open("done", "w").close()
"""
    watch = """
import time
while not os.path.exists("done"):
    try: came.append(open("token").read())
    except OSError as error: came.append(error.errno)
    if os.path.lexists("token"): came.append("there")
came[:] = sorted(set(map(str, came)))
"""
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(BEN.run, watch, team.path)
        assert CARA.run(script, team.path) == ["anna"] * 20
        assert watching.result() == ["2"]


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
