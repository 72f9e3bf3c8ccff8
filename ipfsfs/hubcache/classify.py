"""What a path is, decided by names alone: cheap enough to be asked at every lookup.

Directories are states, names are transitions: `enter` goes one directory down, `kind` says what a file in it is. A view
keeps a `Place` with every directory it knows and never looks at a whole path. The layout is that of huggingface_hub
2.4, datasets 5.2 and llama.cpp, wherever it stands: a mount may be of `~/.cache`, of `~/.cache/huggingface`, of `hub/`
or of one repository, so it begins with `root_place` of its own absolute path.

A name alone is not enough for secrets (`cp token notes.txt`): see `secret`.
"""

from __future__ import annotations

import re
from enum import Enum


class Place(Enum):
    """What a directory is. All that is not listed is `OTHER`, where content lies by default."""

    OTHER = "other"
    REPO = "repo"  # {models,datasets,spaces,kernels}--ns--name
    BLOBS = "blobs"  # <repo>/blobs
    REFS = "refs"  # <repo>/refs and below: names of branches hold slashes
    SNAPSHOTS = "snapshots"  # <repo>/snapshots
    SNAPSHOT = "snapshot"  # <repo>/snapshots/<commit> and below
    SHARED = "shared"  # hub/blobs
    SHARED_BLOBS = "shared-blobs"  # hub/blobs/<2 hex>
    LOCKS = "locks"  # hub/.locks and below
    XET = "xet"
    XET_LOGS = "xet-logs"  # xet/logs and below
    SANDBOX = "sandbox"
    SANDBOX_POOLS = "sandbox-pools"  # sandbox/pools and below: access to running machines
    ACCELERATE = "accelerate"
    UNFINISHED = "unfinished"  # <anything>.incomplete/, tmpXXXXXXXX/ and below


class Kind(Enum):
    """What a file is. Only `PROMISE` and `CONTENT` are ever sealed."""

    SECRET = "secret"  # noqa: S105  never hashed, never offered, never in a log
    SCRATCH = "scratch"  # in flight or worthless: locks, downloads, logs
    PROMISE = "promise"  # its name says what its sha256 must be
    CONTENT = "content"


_REPO = re.compile(rb"(?:models|datasets|spaces|kernels)--.+", re.DOTALL)
_COMMIT = re.compile(rb"[0-9a-f]{40}")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_SHARD = re.compile(rb"[0-9a-f]{2}")
_UNFINISHED = re.compile(rb".+\.incomplete|\.?tmp[a-z0-9_]{8}", re.DOTALL)

# Names that are secret in any directory. `token` and `stored_tokens` (OAuth refresh tokens) are huggingface_hub's, with
# what editors, backups and atomic writers make of them; the others are secrets of other programs below ~/.cache that
# the content check of `secret` does not know by their text.
_SECRET_NAMES = (
    rb"token(?:[.~].*)?",
    rb"\.token.*",
    rb"\.?stored_tokens.*",  # stored_tokens.lock too: it is created beside it by the same client
    rb"[._]netrc",
    rb"\.env(?:\..+)?",
    rb"\.git-credentials",
    rb"\.pypirc",
    rb"kaggle\.json",
    rb"credentials(?:\.json)?",
    rb"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?",
    rb".+\.(?:pem|p12|pfx|kdbx)",
)
_SECRET = re.compile(rb"|".join(_SECRET_NAMES), re.DOTALL)

# Names that are scratch in any directory.
_SCRATCH_NAMES = (
    rb".+\.lock",  # flock targets
    rb".+\.incomplete",  # huggingface_hub's downloads
    rb".+\.downloadInProgress",  # llama.cpp's
    rb"tmp_.+",  # huggingface_hub's probe for the umask
    rb"\.?tmp[a-z0-9_]{8}(?:\.[a-z0-9]+)?",  # Python's tempfile: datasets.map, trees/, the probe for symlinks
    rb".+\.[0-9a-f]{8}\.tmp",  # refs, the marker of the shared store
    rb"\..+\.[0-9a-f]+\.(?:shared|new|old)",  # a blob that is being put in place
)
_SCRATCH = re.compile(rb"|".join(_SCRATCH_NAMES), re.DOTALL)

_ACCELERATE_CONFIG = re.compile(rb"\.?default_config\.(?:ya?ml|json).*", re.DOTALL)  # hosts, addresses, IAM roles

_ANYWHERE = {
    b"blobs": Place.SHARED,
    b".locks": Place.LOCKS,
    b"xet": Place.XET,
    b"sandbox": Place.SANDBOX,
    b"accelerate": Place.ACCELERATE,
}
_IN_REPO = {b"blobs": Place.BLOBS, b"refs": Place.REFS, b"snapshots": Place.SNAPSHOTS}
# Names below these mean nothing more.
_FINAL = frozenset(
    id(place)  # the hash of an Enum is a call of Python; this is asked at every lookup
    for place in (
        Place.SNAPSHOT,
        Place.REFS,
        Place.LOCKS,
        Place.XET_LOGS,
        Place.SANDBOX_POOLS,
        Place.UNFINISHED,
    )
)


def enter(place: Place, name: bytes) -> Place:
    """What the directory `name` in a directory that is `place` is."""
    if id(place) in _FINAL:
        return place
    if place is Place.REPO:
        if (below := _IN_REPO.get(name)) is not None:
            return below
    elif place is Place.SNAPSHOTS:
        if _COMMIT.fullmatch(name):
            return Place.SNAPSHOT
    elif place is Place.SHARED:
        if _SHARD.fullmatch(name):
            return Place.SHARED_BLOBS
    elif place is Place.XET:
        if name == b"logs":
            return Place.XET_LOGS
    elif place is Place.SANDBOX and name == b"pools":
        return Place.SANDBOX_POOLS
    if (below := _ANYWHERE.get(name)) is not None:
        return below
    if _REPO.fullmatch(name):
        return Place.REPO
    if _UNFINISHED.fullmatch(name):
        return Place.UNFINISHED
    return Place.OTHER


def root_place(path: bytes) -> Place:
    """What the directory at the absolute `path` is, as the root of a mount.

    Directories that are merely unfinished do not count: who mounts `/tmp/tmp1a2b3c4d` means what is in it.
    """
    place = Place.OTHER
    for name in path.split(b"/"):
        if name:
            place = enter(place, name)
            if place is Place.UNFINISHED:
                place = Place.OTHER
    return place


def kind(place: Place, name: bytes) -> Kind:
    """What `name`, which is no directory, is in a directory that is `place`. Secret goes before scratch."""
    if place is Place.SANDBOX_POOLS or _SECRET.fullmatch(name):
        return Kind.SECRET
    if place is Place.BLOBS and _SHA256.fullmatch(name):
        return Kind.PROMISE
    if place is Place.LOCKS or place is Place.XET_LOGS or place is Place.UNFINISHED or _SCRATCH.fullmatch(name):
        return Kind.SCRATCH
    if place is Place.REFS and name.endswith(b".tmp"):
        return Kind.SCRATCH
    if place is Place.ACCELERATE and _ACCELERATE_CONFIG.fullmatch(name):
        return Kind.SECRET
    return Kind.CONTENT


def locate(path: bytes, start: Place = Place.OTHER) -> tuple[Place, Kind]:
    """The place of the directory that holds `path`, a relative path from `start`, and the kind of its last name."""
    *directories, name = path.split(b"/")
    place = start
    for directory in directories:
        if directory:
            place = enter(place, directory)
    return place, kind(place, name)


def promise(place: Place, name: bytes) -> bytes | None:
    """The sha256 (32 bytes) that `name` promises, None if it promises nothing.

    Only 64 lower-case hex digits directly in a repository's `blobs/` do: 40 digits may be a mirror's sha1 of the file,
    the shared store's names are Xet hashes, those in `datasets/downloads/` are hashes of URLs.
    """
    if place is Place.BLOBS and _SHA256.fullmatch(name):
        return bytes.fromhex(name.decode("ascii"))
    return None


def immutable(place: Place, name: bytes, is_link: bool) -> bool:
    """Whether what stands at `name` stays the same for as long as it is there, so that the kernel may keep it for long.

    True for blobs, those of the shared store too, symlinks of a snapshot and the directory of a commit. A blob of 40
    digits promises nothing, but it is not rewritten either.
    """
    if place is Place.SNAPSHOT:
        return is_link
    if place is Place.BLOBS:
        return _SHA256.fullmatch(name) is not None or _COMMIT.fullmatch(name) is not None
    if place is Place.SHARED_BLOBS:
        return _SHA256.fullmatch(name) is not None
    return place is Place.SNAPSHOTS and not is_link and _COMMIT.fullmatch(name) is not None
