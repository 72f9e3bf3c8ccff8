"""The sealing processes: what they inherit, how polite they are, how they die and what dies with them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import SealerLost
from ipfsfs.identity import Identity
from ipfsfs.workers.sealer import talk
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Failed, Gone, Sealed
from tests.support.processes import descriptors
from tests.support.sealers import slow, with_sealer, write

_BIG = 600 << 20


async def _both(sealer: Sealer) -> tuple[int, int]:
    """The polite and the prompt process, both started."""
    await sealer.seal(b"missing")
    (polite,) = sealer.pids
    await sealer.digest(b"missing", 1)
    (prompt,) = set(sealer.pids) - {polite}
    return polite, prompt


def test_none_is_started_before_there_is_work(tmp_path: Path) -> None:
    async def use(sealer: Sealer) -> list[int]:
        await trio.sleep(0.2)
        return sealer.pids

    assert with_sealer(tmp_path, use) == []


def test_h06_one_is_idle_and_the_other_is_not(tmp_path: Path) -> None:
    async def use(sealer: Sealer) -> list[int]:
        return [os.sched_getscheduler(pid) for pid in await _both(sealer)]

    assert with_sealer(tmp_path, use) == [os.SCHED_IDLE, os.SCHED_OTHER]


def test_h06_it_rests_while_a_worker_is_at_work_but_not_for_ever(tmp_path: Path) -> None:
    """What workers are told: sealing takes at most 5 % from one that loads a model."""
    slow(tmp_path / "big", 16 << 30)

    async def use(sealer: Sealer) -> list[int]:
        at = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sealer.seal, b"big")
            while not sealer.reading.hashed:  # noqa: ASYNC110  it is told in its own time
                await trio.sleep(0.05)
            sealer.make_way(1.0)
            await trio.sleep(0.5)
            for _ in range(2):
                at.append(sealer.reading.hashed)
                await trio.sleep(0.3)
            for _ in range(7 * 4):  # longer than it may be held at a time
                sealer.make_way(1.0)
                await trio.sleep(0.25)
            at.append(sealer.reading.hashed)
            nursery.cancel_scope.cancel()
        return at

    resting, still_resting, later = with_sealer(tmp_path, use)
    assert resting == still_resting
    assert later > still_resting


@pytest.fixture
def leaky() -> Iterator[int]:
    """A descriptor that a careless fork would hand on."""
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


@pytest.mark.usefixtures("leaky")
def test_h03_h07_they_inherit_the_root_and_their_pipes_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")

    async def use(sealer: Sealer) -> list[tuple[list[str], str, dict[str, str]]]:
        seen = []
        for pid in await _both(sealer):
            links = sorted(name.partition(":")[0] for name in descriptors(pid).values())
            seen.append((links, os.readlink(f"/proc/{pid}/cwd"), _environment(pid)))
        return seen

    for links, cwd, environment in with_sealer(tmp_path, use):
        assert links == sorted([str(tmp_path), "/dev/null", "/dev/null", "pipe", "pipe", "pipe"])
        assert cwd == "/"
        assert (environment["HOME"], environment["TMPDIR"]) == ("/", "/")
        assert "HF_TOKEN" not in environment


def _environment(pid: int) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(variable.split("=", 1) for variable in variables if variable)


def test_signals_for_the_daemon_do_not_end_them(tmp_path: Path) -> None:
    async def use(sealer: Sealer) -> list[int]:
        pids = await _both(sealer)
        for pid in pids:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
                os.kill(pid, number)
        await trio.sleep(0.1)
        await sealer.seal(b"missing")
        await sealer.digest(b"missing", 1)
        assert set(sealer.pids) == set(pids)
        return [os.getsid(pid) for pid in pids]

    assert os.getsid(0) not in with_sealer(tmp_path, use)


def test_they_are_gone_when_the_block_ends(tmp_path: Path) -> None:
    for pid in with_sealer(tmp_path, _both):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_h03_they_die_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    slow(tmp_path / "big", 8 << 30)
    code = (
        "import sys; from pathlib import Path; from tests.support.sealers import with_sealer\n"
        "async def use(sealer):\n"
        "    await sealer.seal(b'missing'); await sealer.digest(b'missing', 1)\n"
        "    print(*sealer.pids, flush=True)\n"
        "    await sealer.seal(b'big')\n"
        "with_sealer(Path(sys.argv[1]), use)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        pids = [int(pid) for pid in daemon.stdout.readline().split()]
        daemon.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_is_killed_fails_its_jobs_and_is_started_again(tmp_path: Path) -> None:
    slow(tmp_path / "big", _BIG)
    write(tmp_path / "small", b"small")

    async def use(sealer: Sealer) -> None:
        assert isinstance(await sealer.seal(b"small"), Sealed)
        (pid,) = sealer.pids
        failures: list[SealerLost] = []

        async def lose(urgency: Urgency) -> None:
            with pytest.raises(SealerLost) as caught:
                await sealer.seal(b"big", urgency=urgency)
            failures.append(caught.value)

        async def lose_a_walk() -> None:
            async with sealer.walk() as walk:
                await trio.sleep(0.3)
                with pytest.raises(SealerLost):
                    await walk.__anext__()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, Urgency.SOON)
            nursery.start_soon(lose, Urgency.IDLE)
            nursery.start_soon(lose_a_walk)
            await trio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
        assert [failure.retry for failure in failures] == [True, True]
        assert "SIGKILL" in str(failures[0])
        assert "started again" in sealer.state
        assert isinstance(await sealer.seal(b"small"), Sealed)
        assert sealer.state == ""
        assert pid not in sealer.pids
        assert sealer.reading.hashed >= 10

    with_sealer(tmp_path, use)


@pytest.mark.parametrize(
    ("executable", "why"), [("/bin/false", "ended with status 1"), ("/missing", "cannot be started: No such file")]
)
def test_one_that_cannot_be_started_fails_jobs_and_hangs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str, why: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)

    async def use(sealer: Sealer) -> str:
        for _ in range(3):
            with pytest.raises(SealerLost, match=why):
                await sealer.seal(b"file")
        return sealer.state

    assert "started again after" in with_sealer(tmp_path, use)


def test_one_that_hangs_is_ended_and_its_jobs_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "SILENT_S", 2.0)
    write(tmp_path / "file", b"content")

    async def use(sealer: Sealer) -> None:
        assert isinstance(await sealer.seal(b"file"), Sealed)
        (pid,) = sealer.pids
        os.kill(pid, signal.SIGSTOP)
        with trio.fail_after(20), pytest.raises(SealerLost, match="hangs"):
            await sealer.seal(b"file")
        assert isinstance(await sealer.seal(b"file"), Sealed)
        assert not _alive(pid)

    with_sealer(tmp_path, use)


def test_a_walk_that_nobody_takes_from_does_not_count_as_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "SILENT_S", 0.3)
    for number in range(3_000):
        (tmp_path / str(number)).touch()

    async def use(sealer: Sealer) -> int:
        async with sealer.walk() as walk:
            await trio.sleep(1.5)
            return sum([len(batch) async for batch in walk])

    assert with_sealer(tmp_path, use) == 3_000


def test_a_job_that_goes_wrong_takes_no_other_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow(tmp_path / "big", _BIG)
    write(tmp_path / "file", b"content")

    async def use(sealer: Sealer) -> list[object]:
        sealed = await sealer.seal(b"file")
        assert isinstance(sealed, Sealed)
        outcomes: list[object] = []

        async def seal() -> None:
            outcomes.append(await sealer.seal(b"big", urgency=Urgency.NOW))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(seal)
            await trio.sleep(0.1)
            broken = await sealer.verify(b"file", sealed.identity, sums=sealed.sums, leaves=b"no leaf")
        return [broken, *outcomes]

    broken, sealed = with_sealer(tmp_path, use)
    assert isinstance(broken, Failed)
    assert broken.errno == errno.EIO
    assert isinstance(sealed, Sealed)
    assert "from the sealer" in caplog.text


def test_a_job_that_is_given_up_is_dropped(tmp_path: Path) -> None:
    slow(tmp_path / "big", 20 << 30)

    async def use(sealer: Sealer) -> None:
        assert await sealer.seal(b"missing") == Gone()
        (pid,) = sealer.pids
        with trio.move_on_after(0.1):
            await sealer.seal(b"big", urgency=Urgency.SOON)
        with trio.fail_after(5):
            assert await sealer.settle(b"missing", Identity(0, 1, 0, 0, 0, 0)) is False
        assert not any("big" in path for path in descriptors(pid).values())

    with_sealer(tmp_path, use)


def test_progress_says_what_is_read_how_much_and_how_fast(tmp_path: Path) -> None:
    slow(tmp_path / "big", _BIG)

    async def use(sealer: Sealer) -> None:
        paths, rates = set(), []

        async def look() -> None:
            while True:
                await trio.sleep(0.05)
                paths.add(sealer.reading.path)
                rates.append(sealer.reading.rate)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            assert isinstance(await sealer.seal(b"big", urgency=Urgency.NOW), Sealed)
            nursery.cancel_scope.cancel()
        assert b"big" in paths
        assert max(rates) > 10_000_000
        assert sealer.reading.hashed == _BIG

    with_sealer(tmp_path, use)
