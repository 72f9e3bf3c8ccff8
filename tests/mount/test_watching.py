"""`log`, `status --watch` and `umount --all`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from tests.support import json_forms
from tests.support.mounted import Mounted, environment, ipfsfs

IPFSFS = (sys.executable, "-m", "ipfsfs")
ALL_ALONE = """
    for view in $OTHERS; do umount -l "$view"; done
    "$@" mount one >/dev/null && "$@" mount two >/dev/null || exit 99
    {before}
    "$@" umount --all {words}
    code=$?
    findmnt -n -t fuse.ipfsfs -o TARGET
    kill $! 2>/dev/null; wait; "$@" umount --all >/dev/null
    exit $code
"""


def in_own_table(at: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a table of mounts, and with notes on views, of its own. `$OTHERS` are views to be left out."""
    others = " ".join(str(view.mountpoint) for view in mounts.views())
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *IPFSFS],
        cwd=at,
        env=environment(OTHERS=others, XDG_STATE_HOME=str(at / "state")),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until Ctrl-C."""
    command = [*IPFSFS, *map(str, words)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The line with these words in it; a test that waits for one in vain runs into its time limit."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


class TestLog:
    def test_it_shows_the_view_that_a_path_lies_in_and_the_last_one_when_none_is_mounted(
        self, mounted: Callable[..., Mounted]
    ) -> None:
        mount = mounted()
        (mount.path / "hub").mkdir()
        assert f"INFO mounted {mount.path}, store {mount.store}" in ipfsfs("log", mount.path / "hub").stdout
        mount.umount()
        assert ipfsfs("log", mount.path).stdout == mount.log()
        assert ipfsfs("log", "-n", "1", mount.path).stdout.endswith(f"INFO unmounted {mount.path}\n")
        assert ipfsfs("log", "-n", "1", mount.path).stdout.count("\n") == 1

    def test_it_goes_on_where_the_log_is_put_aside(self, mounted: Callable[..., Mounted]) -> None:
        mount = mounted()
        with running("log", "-f", mount.path) as followed:
            read_until(followed, "mounted")
            log = mount.store / "log" / "daemon.log"
            log.rename(log.with_name("daemon.log.1"))
            with log.with_name("daemon.log.1").open("a") as older:
                older.write("the last of the old\n")
            log.write_text("the first of the new\n")
            assert read_until(followed, "the ") == "the last of the old\n"
            assert read_until(followed, "the ") == "the first of the new\n"
            followed.send_signal(signal.SIGINT)
            assert followed.wait(30) == 0

    def test_the_log_of_a_store_elsewhere_is_found(self, mounted: Callable[..., Mounted], tmp_path: Path) -> None:
        mount = mounted(None, "--store", tmp_path / "elsewhere")
        mount.umount()
        shown = ipfsfs("log", mount.path).stdout
        assert f"INFO mounted {mount.path}, store {tmp_path}/elsewhere" in shown
        assert ipfsfs("log", "--store", tmp_path / "elsewhere").stdout == shown

    def test_for_scripts_each_line_is_an_object(self, mounted: Callable[..., Mounted]) -> None:
        mount = mounted()
        before = time.time()
        mount.umount()
        log = mount.store / "log" / "daemon.log"
        with log.open("a") as more:
            more.write("  File nowhere\n")
        shown = ipfsfs("log", "--json", "-n", "2", mount.path).stdout
        last, rest = (json.loads(line) for line in shown.splitlines())
        assert (last["level"], last["text"]) == ("INFO", f"unmounted {mount.path}")
        assert before - 2 < last["when"] < time.time() + 2
        assert (rest["when"], rest["level"], rest["text"]) == (None, None, "  File nowhere")
        json_forms.check(["log", "--json", str(mount.path)], shown)

    def test_several_views_are_named_as_it_takes_them(self, mounted: Callable[..., Mounted]) -> None:
        views = [mounted().path, mounted().path]
        for command in ("log", "top", "metrics", "peers"):
            done = ipfsfs(command, cwd="/", check=False)
            assert done.returncode == 2
            for view in views:
                assert f"ipfsfs {command} {view}\n" in done.stderr
            assert "--view" not in done.stderr
        shown = ipfsfs("top", "--once", "--interval", "0.1", cwd=views[1]).stdout
        assert shown.startswith(f"{views[1]}\n"), "that of the current directory"

    @pytest.mark.root
    def test_where_none_is_mounted_it_is_the_one_that_ended_unasked(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        alone = 'for view in $OTHERS; do umount -l "$view"; done; '
        script = """
            "$@" mount one >/dev/null || exit 99
            kill -9 $("$@" status one --json | grep -m1 -o '"pid": [0-9]*' | grep -o "[0-9]*"); sleep 2
            cd / && "$@" log -n 1
        """
        done = in_own_table(tmp_path, alone + 'cd / && HF_HOME=/nothing "$@" log')
        assert (done.returncode, done.stderr.partition("\n")[0]) == (5, "ipfsfs: no view is mounted")
        done = in_own_table(tmp_path, alone + script)
        assert done.stderr == f"ipfsfs: nothing is mounted; this is the log of {tmp_path}/one\n"
        assert "was ended by SIGKILL" in done.stdout

    def test_where_there_is_none_it_says_where_else_to_look(self, tmp_path: Path) -> None:
        done = ipfsfs("log", tmp_path, check=False)
        assert done.returncode == 5
        assert f"there is no log at {tmp_path}.ipfsfs/log/daemon.log" in done.stderr
        assert "journalctl" in done.stderr


@pytest.mark.root
def test_dedup_of_several_views_says_whose_result_is_whose(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    script = """
        for view in $OTHERS; do umount -l "$view"; done
        "$@" mount one >/dev/null && "$@" mount two >/dev/null && "$@" dedup --dry-run
        "$@" umount --all >/dev/null
    """
    blocks = in_own_table(tmp_path, script).stdout.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"{tmp_path}/one:", f"{tmp_path}/two:"]


def test_status_is_shown_again_until_it_is_interrupted(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    with running("status", "--watch", mount.path) as watched:
        read_until(watched, "mounted by process")
        mount.umount()
        read_until(watched, "not mounted: the plain directory")
        watched.send_signal(signal.SIGINT)
        assert watched.wait(30) == 0


def test_as_json_each_look_is_a_line(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    words = ("status", "--watch", "--json", str(mount.path))
    with running(*words) as watched:
        line = read_until(watched, '"mounted"')
        mount.umount()
        gone = read_until(watched, '"not mounted"')
        watched.send_signal(signal.SIGINT)
        assert watched.wait(30) == 0
    json_forms.check(words, line + gone)
    assert [json.loads(line)[0]["pid"], json.loads(gone)[0]["pid"]] == [mount.pid, None]


@pytest.mark.root
class TestUmountAll:
    """In a table of mounts of their own: all views of this user are unmounted."""

    def run(self, at: Path, before: str = "", words: str = "") -> subprocess.CompletedProcess[str]:
        for name in ("one", "two"):
            (at / name).mkdir(exist_ok=True)
        return in_own_table(at, ALL_ALONE.format(before=before, words=words))

    def test_every_view_is_unmounted(self, tmp_path: Path) -> None:
        done = self.run(tmp_path)
        assert (done.returncode, done.stdout) == (
            0,
            f"{tmp_path}/two is the plain directory again.\n{tmp_path}/one is the plain directory again.\n",
        )

    def test_one_in_use_does_not_keep_the_others(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, before="(cd two && exec sleep 60) & sleep 0.5")
        assert done.returncode == 3, done.stderr
        assert f"{tmp_path}/two is in use" in done.stderr
        assert done.stdout == f"{tmp_path}/one is the plain directory again.\n{tmp_path}/two\n"

    def test_a_script_is_told_of_each(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, before="(cd two && exec sleep 60) & sleep 0.5", words="--json")
        assert done.returncode == 3, done.stderr
        assert f"{tmp_path}/two is in use" in done.stderr
        told, is_mounted_still = done.stdout.rsplit("]\n", 1)
        assert is_mounted_still == f"{tmp_path}/two\n"
        json_forms.check(["umount", "--all", "--json"], told + "]")
        two, one = json.loads(told + "]")
        assert (two["mountpoint"], two["daemon_goes_on"], two["error"]["kind"]) == (f"{tmp_path}/two", True, "InUse")
        assert (one["mountpoint"], one["daemon_goes_on"], one["error"]) == (f"{tmp_path}/one", False, None)

    def test_a_script_is_told_of_none(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, before='"$@" umount --all >/dev/null', words="--json")
        assert (done.returncode, done.stdout) == (0, "[]\n")

    def test_what_has_ended_is_forgotten(self, tmp_path: Path) -> None:
        kill = 'kill -9 $("$@" status two --json | grep -m1 -o \'"pid": [0-9]*\' | grep -o "[0-9]*"); sleep 2'
        done = self.run(tmp_path, before=kill, words='&& "$@" status')
        assert done.returncode == 0, done.stderr
        assert f"{tmp_path}/two is not mounted: it is the plain directory, since its daemon was ended" in done.stdout
        assert "Nothing is mounted" in done.stdout


@pytest.mark.parametrize("words", [[], ["--all", "somewhere"]])
def test_umount_is_told_one_or_all(words: list[str]) -> None:
    done = ipfsfs("umount", *words, check=False)
    assert done.returncode == 2
    assert "either a PATH or --all" in done.stderr
