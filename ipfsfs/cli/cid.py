"""`ipfsfs cid`."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import PATH, mountpoint, must_be_ours
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.looking import unreachable
from ipfsfs.errors import IpfsfsError, StoreError, UsageError
from ipfsfs.hubcache.classify import Kind, Place, enter, kind, root_place
from ipfsfs.hubcache.secret import SEARCH_MAX, looks_secret
from ipfsfs.plain.quiet import QuietFile
from ipfsfs.sealer import hashing
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import directory, file
from ipfsfs.unixfs.chunk import Chunker


@click.command(
    short_help="Print the CIDs of files and directories.",
    epilog="Example: ipfsfs cid --chunker fixed model.safetensors",
)
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option(
    "--chunker",
    type=click.Choice(["auto", "fixed"]),
    help="As for mount (default: the view's, or auto). fixed gives what `ipfs add` gives with unixfs-v1-2025.",
)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def cid(paths: tuple[Path, ...], chunker: str | None, as_json: bool) -> None:
    """Print the CID of each file or directory, mounted or not.

    In a directory, secrets and scratch (tokens, locks, unfinished downloads) are left out: they never get a CID.
    """
    wanted: Chunker | None = None if chunker is None else "fixed" if chunker == "fixed" else "auto"
    found = [(path, *_name(path, wanted)) for path in paths]
    if as_json:
        render.facts([{"path": str(path), "cid": text, "left_out": left_out} for path, text, left_out in found], True)
        return
    for path, text, left_out in found:
        click.echo(text if len(found) == 1 else f"{text}  {render.printable(str(path))}")
        if left_out:
            click.echo(f"{render.printable(str(path))}: {left_out} secrets or scratch files left out", err=True)


def _name(path: Path, chunker: Chunker | None) -> tuple[str, int]:
    """The CID of a path as text, and how many names in it were left out."""
    absolute = Path(os.path.realpath(path.parent)) / path.name if os.path.islink(path) else mountpoint(path)
    view = mounts.view_over(absolute)
    if view is not None and not (view.is_anothers and chunker is not None):
        must_be_ours(view)
        status = ask(view.store, {"command": "status"})
        if chunker in (None, status["chunker"]):
            return _ask(view, absolute)
    hasher = _Hasher(chunker or "auto")
    try:
        with render.bar("Hashing") as bar:
            for done in hasher.name(os.fsencode(absolute)):
                hasher.done += done
                bar.update(files=hasher.files, done_bytes=hasher.done)
    except OSError as error:
        raise unreachable(Path(os.fsdecode(error.filename or absolute)), error) from error
    return cids.to_text(hasher.root), hasher.left_out


def _ask(view: mounts.Mount, path: Path) -> tuple[str, int]:
    relative = os.path.relpath(path, view.mountpoint)
    with render.bar("Sealing") as bar:
        answer = ask(view.store, {"command": "cid", "path": "" if relative == "." else relative}, bar.sealing)
    if answer["cid"] is None:
        lacking = view.mountpoint / answer["unsealed"][0]
        raise StoreError(
            f"{path} has no CID yet: {lacking} is being written, or is a secret or scratch",
            hint=f"See why with: ipfsfs why {render.shell(lacking)}",
        )
    return answer["cid"], 0


@dataclass(slots=True)
class _Hasher:
    """Names a tree by hashing all of it; yields the bytes done on the way, and leaves the CID in `root`."""

    chunker: Chunker
    root: bytes = b""
    files: int = 0
    done: int = 0
    left_out: int = 0
    _buffer: memoryview = field(default_factory=hashing.new_buffer)

    def name(self, path: bytes) -> Generator[int, None, None]:
        """Name the file, link or directory at an absolute path. Raises OSError."""
        place = root_place(os.path.dirname(path))
        name = os.path.basename(path)
        st = os.lstat(path)
        if not stat.S_ISDIR(st.st_mode) and kind(place, name) in (Kind.SECRET, Kind.SCRATCH):
            raise UsageError(f"{os.fsdecode(path)} is {kind(place, name).value}: it never gets a CID")
        if _gives_a_secret_away(path, st):
            raise UsageError(f"{os.fsdecode(path)} holds a secret: it never gets a CID")
        self.root, _ = yield from self._any(path, place, name)

    def _any(self, path: bytes, place: Place, name: bytes) -> Generator[int, None, tuple[bytes, int]]:
        st = os.lstat(path)
        if stat.S_ISLNK(st.st_mode):
            root, block = file.symlink(os.readlink(path))
            return root, len(block)
        if stat.S_ISDIR(st.st_mode):
            return (yield from self._directory(path, enter(place, name)))
        if not stat.S_ISREG(st.st_mode):
            raise UsageError(f"{os.fsdecode(path)} is neither file, directory nor link: it has no CID")
        return (yield from self._file(path))

    def _directory(self, path: bytes, place: Place) -> Generator[int, None, tuple[bytes, int]]:
        found = []
        for name in os.listdir(path):
            below = path + b"/" + name
            st = os.lstat(below)
            if not stat.S_ISDIR(st.st_mode) and (
                kind(place, name) in (Kind.SECRET, Kind.SCRATCH)
                or not (stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode))
                or _gives_a_secret_away(below, st)
            ):
                self.left_out += 1
                continue
            found.append(directory.Entry(name, *(yield from self._any(below, place, name))))
        dag = directory.build(found)
        return dag.cid, dag.tsize

    def _file(self, path: bytes) -> Generator[int, None, tuple[bytes, int]]:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            hashed = yield from hashing.hash_file(QuietFile(fd, size), size, self.chunker, self._buffer)
        except hashing.EndedEarly:
            raise IpfsfsError(f"{os.fsdecode(path)} was cut while it was read", hint="Try again.") from None
        finally:
            os.close(fd)
        self.files += 1
        dag = file.build((cids.raw_cid(digest), length) for length, digest in unpack_leaves(hashed.leaves))
        return dag.cid, dag.tsize


def _gives_a_secret_away(path: bytes, st: os.stat_result) -> bool:
    """Whether a file holds a secret, whatever its name is (H36). Raises OSError."""
    if not stat.S_ISREG(st.st_mode) or st.st_size > SEARCH_MAX:
        return False
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return looks_secret(file.read(SEARCH_MAX))
