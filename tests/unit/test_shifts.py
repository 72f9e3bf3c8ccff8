"""Which thread does what, of those that answer READs."""

from __future__ import annotations

import threading

from ipfsfs.fuse.shifts import WAITING, WAITING_FOR_ONE, Shifts
from tests.support.processes import eventually


class Crew:
    """Threads that do jobs: `("work", ...)` at once, `("wait", FILE)` by waiting until `go` is set."""

    def __init__(self, at_work: int = 2) -> None:
        self.shifts: Shifts[tuple[str, str]] = Shifts(at_work)
        self.done: list[tuple[str, str]] = []
        self.waiting: list[str] = []
        self.go = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.shifts.threads)]
        for thread in self.threads:
            thread.start()

    def put(self, kind: str, what: str) -> None:
        assert self.shifts.put((kind, what))

    def finish(self) -> list[tuple[str, str]]:
        left = self.shifts.end()
        self.go.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        return left

    def _run(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while (job := self.shifts.next(bell)) is not None:
            following: tuple[str, str] | None = job
            if job[0] == "wait" and not self.shifts.wait(job, job[1]):
                continue
            while following is not None:
                if following[0] == "wait":
                    self.waiting.append(following[1])
                    self.go.wait()
                self.done.append(following)
                following = self.shifts.waited(following[1]) if following[0] == "wait" else None


def test_jobs_that_wait_stop_no_others_however_many_they_are() -> None:
    crew = Crew()
    for number in range(1000):
        crew.put("wait", f"file {number}")
    eventually(lambda: len(crew.waiting) == WAITING, "as many wait as may")
    for number in range(1000):
        crew.put("work", str(number))
    eventually(lambda: len(crew.done) == 1000, "all that need not wait are done")
    assert len(crew.waiting) == WAITING
    crew.go.set()
    eventually(lambda: len(crew.done) == 2000, "those that waited are done")
    assert crew.finish() == []


def test_h02_one_file_never_has_all_who_may_wait() -> None:
    crew = Crew()
    for _ in range(100):
        crew.put("wait", "slow")
    eventually(lambda: len(crew.waiting) == WAITING_FOR_ONE, "as many wait as may for one file")
    crew.put("wait", "other")
    eventually(lambda: "other" in crew.waiting, "another file's job waits beside them")
    assert crew.waiting.count("slow") == WAITING_FOR_ONE
    crew.go.set()
    eventually(lambda: len(crew.done) == 101, "all are done")
    crew.finish()


def test_files_take_turns_at_waiting() -> None:
    crew = Crew()
    for file in ("a", "b"):
        for _ in range(WAITING_FOR_ONE):
            crew.put("wait", file)
    eventually(lambda: len(crew.waiting) == WAITING, "as many wait as may")
    for file in ("c", "d"):
        for _ in range(2):
            crew.put("wait", file)
    shifts = crew.shifts
    eventually(lambda: sum(map(len, shifts._to_wait.values())) == 4, "the others cannot wait yet")
    following = [shifts.waited(file) for file in ("a", "a", "a")]
    assert following == [("wait", "c"), ("wait", "d"), ("wait", "c")]
    crew.finish()


def test_what_was_waited_for_takes_its_turn_and_is_done_by_no_more_than_may_work() -> None:
    shifts: Shifts[str] = Shifts(1)
    bells = [threading.Lock() for _ in range(3)]
    for bell in bells:
        bell.acquire()
    done: list[str] = []
    brought, may_work = threading.Event(), threading.Semaphore(0)

    def run(bell: threading.Lock) -> None:
        while (job := shifts.next(bell)) is not None:
            if job == "cold" and shifts.wait(job, "file"):
                brought.wait(10)
                assert shifts.waited("file", "brought") is None
                continue
            may_work.acquire()
            done.append(job)

    for _ in range(shifts.threads - len(bells)):  # those who are not there have nothing to do
        shifts._working -= 1
    threads = [threading.Thread(target=run, args=(bell,)) for bell in bells]
    for thread in threads:
        thread.start()
    for job in ("cold", "first", "second", "third"):
        assert shifts.put(job)
    eventually(lambda: shifts._waiting["file"] == 1 and list(shifts._jobs) == ["second", "third"], "one is at work")
    brought.set()
    eventually(lambda: list(shifts._jobs) == ["second", "third", "brought"], "what was brought waits for its turn")
    assert shifts._working == 1
    for _ in range(4):
        may_work.release()
    eventually(lambda: len(done) == 4, "all are done")
    assert done == ["first", "second", "third", "brought"]
    shifts.end()
    for thread in threads:
        thread.join(10)


def test_what_was_waited_for_is_done_by_who_waited_after_the_end() -> None:
    shifts: Shifts[str] = Shifts(1)
    assert shifts.wait("cold", "file")
    assert shifts.end() == []
    assert shifts.waited("file", "brought") == "brought"
    assert shifts.waited("file") is None
    assert not shifts._waiting


def test_at_the_end_nothing_is_begun_and_what_was_not_is_told() -> None:
    crew = Crew()
    for _ in range(WAITING_FOR_ONE + 3):
        crew.put("wait", "slow")
    eventually(lambda: sum(map(len, crew.shifts._to_wait.values())) == 3, "three cannot wait yet")
    assert crew.finish() == [("wait", "slow")] * 3
    assert len(crew.done) == WAITING_FOR_ONE
    assert not crew.shifts.put(("work", "late"))
