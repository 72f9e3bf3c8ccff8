"""Rules: what only the view has, and what may happen to it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from ipfsfs.caches.huggingface import HubPlace
from ipfsfs.caches.place import locate
from ipfsfs.daemon.questions import seal, umount, verify
from ipfsfs.errors import InUse
from ipfsfs.plain.quiet import QuietFile
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.unixfs import cid, file
from ipfsfs.workers.sealer import hashing
from tests.stateful.example import Example
from tests.stateful.material import PROMISED, free_names, seeds, sizes
from tests.stateful.pair import eventually
from tests.stateful.side import content
from tests.support.calls import cid_of

HEAVY_EVERY: Final = 40
"""Steps between two that take a second: unmounting, killing, writing beneath."""


class ViewRules(Example):
    """Sealing, unmounting, dying, and changes from beneath."""

    def heavy_is_due(self) -> bool:
        return self.steps >= self.heavy_at

    due = precondition(heavy_is_due)

    def heavy(self) -> None:
        self.heavy_at = self.steps + HEAVY_EVERY

    def sealable(self) -> dict[bytes, bytes]:
        """Regular files that are to have a CID and that nobody can be writing to, and the CID each must have."""
        plain = os.fsencode(self.pair.plain / self.name)
        written = set()
        for number in self.writing:
            answer = self.open[number].same("fstat", number)
            written.add(answer[1])
        found = {}
        for name, about, _, one, _ in self.first.both("tree")[1][1]:
            is_sealed = locate(self.root + b"/" + name, HubPlace.OTHER)[1].is_sealed
            if stat.S_ISREG(int(about[0], 8)) and one == name and is_sealed:
                found[name] = computed_cid(plain + b"/" + name)
        return found if not self.writing and not any(shared for _, shared in self.maps.values()) else {}

    @due
    @rule()
    def seal(self) -> None:
        self.heavy()
        self.check_cids()

    def check_cids(self) -> None:
        expected = self.sealable()
        view = os.fsencode(self.pair.view.path / self.name)

        def all_named() -> None:
            self.pair.ask(seal.Question(self.root))
            for name, wanted in expected.items():
                try:
                    found = os.getxattr(view + b"/" + name, "ipfs.cid")
                except OSError as error:
                    found = os.strerror(error.errno or 0).encode()
                assert found == wanted, f"{name!r} is called {found!r}, and should be {wanted!r}"

        eventually(all_named, within_s=10)
        for name in (b"token", b"c.lock"):
            with suppress(OSError):
                shown = os.lstat(view + b"/" + name)
                # What has another name that is no secret is that as well.
                if stat.S_ISREG(shown.st_mode) and shown.st_nlink == 1:
                    assert cid_of(Path(os.fsdecode(view + b"/" + name))) is None, "a secret or a lock has a CID"

    @due
    @rule()
    def verify(self) -> None:
        self.heavy()
        answer = self.pair.ask(verify.Question((self.root,)))
        assert [wrong for wrong in answer.wrong if wrong.kind != "broken_promise"] == []
        broken = {os.fsencode(wrong.path) for wrong in answer.wrong}
        plain = os.fsencode(self.pair.plain / self.name)
        expected = set()
        for path in PROMISED:
            at = plain + b"/" + path
            if os.path.isfile(at) and not os.path.islink(at):
                with open(at, "rb") as data:
                    if hashlib.file_digest(data, "sha256").hexdigest() != path[-64:].decode():
                        expected.add(self.root + b"/" + path)
        assert broken == expected

    @due
    @rule()
    def unmount_while_in_use(self) -> None:
        """Refused, with the name of the process, as long as a file is open."""
        self.heavy()
        if self.open or self.maps:
            with pytest.raises(InUse, match="in use"):
                self.pair.ask(umount.Question())

    @due
    @rule()
    def remount(self) -> None:
        self.heavy()
        self.leave()
        self.pair.before_end_of_daemon()
        self.pair.view.umount()
        self.compare_beneath()
        self.pair.view.mount()
        self.begin()
        self.compare_contents()

    @due
    @rule()
    def kill_and_remount(self) -> None:
        self.heavy()
        for actor in self.pair.actors:
            actor.same("sync_maps")
        # What is open ends with the daemon; the process that had it goes on.
        self.pair.before_end_of_daemon()
        self.pair.view.kill()
        self.compare_beneath()
        for actor in self.pair.actors:
            actor.both("close_all")
        self.pair.view.mount()
        self.begin()
        self.compare_contents()

    def leave(self) -> None:
        for actor in self.pair.actors:
            actor.same("close_all")

    def compare_beneath(self) -> None:
        """Without the view, the plain directory is all there."""
        assert not self.pair.view.mounted
        self.times = [{}, {}]
        self.begin()
        self.compare_contents()
        self.trees_agree()
        self.times = [{}, {}]

    @due
    @rule(
        path=free_names,
        seed=seeds,
        length=sizes,
        what=st.sampled_from(["write", "append", "replace", "unlink", "mkdir", "chmod", "rename"]),
        new_path=free_names,
        keep_mtime=st.booleans(),
    )
    def change_beneath(self, path: bytes, seed: int, length: int, what: str, new_path: bytes, keep_mtime: bool) -> None:
        """Somebody writes beneath the view. It shows that within its second; what is open goes on as it was."""
        places = [locate(self.root + b"/" + name, HubPlace.OTHER)[0] for name in (path, new_path)]
        if (
            self.open
            or self.maps
            or any(
                place.is_immutable(name.rpartition(b"/")[2], is_link=is_link)
                for is_link in (True, False)
                for place, name in zip(places, (path, new_path), strict=True)
            )
        ):
            return
        self.heavy()
        here = os.fsencode(self.pair.plain / self.name) + b"/"
        beneath = self.pair.beneath_path(self.root) + b"/"
        came = [change(root, path, new_path, what, content(seed, length), keep_mtime) for root in (beneath, here)]
        assert came[0] == came[1]

        time.sleep(1.0)
        eventually(self.both_show_the_change, within_s=0.5)

    def both_show_the_change(self) -> None:
        self.times = [{}, {}]
        self.trees_agree()
        self.compare_contents()


def computed_cid(path: bytes) -> bytes:
    """The CID of a file that no daemon knows of."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        steps = hashing.hash_file(QuietFile(fd, size), size, "auto", hashing.new_buffer())
        try:
            while True:
                next(steps)
        except StopIteration as end:
            hashed = end.value
    finally:
        os.close(fd)
    leaves = ((cid.raw_cid(digest), length) for length, digest in unpack_leaves(hashed.leaves))
    return cid.to_text(file.build(leaves).cid).encode()


def change(root: bytes, path: bytes, new_path: bytes, what: str, data: bytes, keep_mtime: bool) -> str:
    """One change by ordinary calls; what came of it."""
    at = root + path
    try:
        before = os.lstat(at) if os.path.lexists(at) else None
        if what in ("write", "append") and (before is None or stat.S_ISREG(before.st_mode)):
            with open(at, "wb" if what == "write" else "ab") as file_:
                file_.write(data)
            if keep_mtime and before is not None:
                os.utime(at, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif what == "replace":
            with open(root + b"replacement", "wb") as file_:
                file_.write(data)
            os.rename(root + b"replacement", at)
        elif what == "unlink":
            os.unlink(at)
        elif what == "mkdir":
            os.mkdir(at)
        elif what == "chmod":
            os.chmod(at, 0o640)
        elif what == "rename":
            os.rename(at, root + new_path)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"
