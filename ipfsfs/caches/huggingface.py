"""The cache of Hugging Face: what a path in it is, decided by names alone, which is cheap enough for every lookup.

The layout is that of huggingface_hub 2.4, datasets 5.2 and llama.cpp, wherever it stands: a mount may be of `~/.cache`,
of `~/.cache/huggingface`, of `hub/` or of one repository, so it begins with `root_place` of its own absolute path.

A name alone is not enough for secrets (`cp token notes.txt`): see `secret`.
"""

from __future__ import annotations

import os
import re
from enum import Enum

from ipfsfs.caches import beside
from ipfsfs.caches.place import Guarded, Kind, Name

_REPO = re.compile(rb"(?:models|datasets|spaces|kernels)--.+", re.DOTALL)
_COMMIT = re.compile(rb"[0-9a-f]{40}")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_INTO_SHARED = re.compile(rb"\.\./\.\./(blobs/[0-9a-f]{2}/[0-9a-f]{64})")
_LISTING = re.compile(rb"[0-9a-f]{40}\.json")
_DOWNLOAD = re.compile(rb"([0-9a-f]{64})(?:\.[0-9a-f]{8})?\.incomplete")
_LOCK = re.compile(rb"([0-9a-f]{64})\.lock")
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
    beside.UNFINISHED,
    beside.WITHDRAWN,
    beside.HYDRATING,
    beside.EVICTING,
    beside.LINKING,
    rb"tmp_.+",  # huggingface_hub's probe for the umask
    rb"\.?tmp[a-z0-9_]{8}(?:\.[a-z0-9]+)?",  # Python's tempfile: datasets.map, trees/, the probe for symlinks
    rb".+\.[0-9a-f]{8}\.tmp",  # refs, the marker of the shared store
    rb"\..+\.[0-9a-f]+\.(?:shared|new|old)",  # a blob that is being put in place
)
_SCRATCH = re.compile(rb"|".join(_SCRATCH_NAMES), re.DOTALL)

_ACCELERATE_CONFIG = re.compile(rb"\.?default_config\.(?:ya?ml|json).*", re.DOTALL)  # hosts, addresses, IAM roles

_SECRET_NAME = Name(Kind.SECRET)
_SCRATCH_NAME = Name(Kind.SCRATCH)
_CONTENT_NAME = Name(Kind.CONTENT)

_MODULES = b"modules"
"""Code of repositories that the user trusts, which is imported from there without another question."""
_RUN = re.compile(rb".+\.(?:py[a-z]?|so(?:\.[0-9.]+)?|dylib|dll|exe|sh|cubin|hsaco|ptx|pth|pkl|pickle)", re.DOTALL)
"""Files that programs run as they find them in a cache. In a repository they have the names of blobs."""


class HubPlace(Enum):
    """What a directory is. All that is not listed is `OTHER`, where content lies by default."""

    OTHER = "other"
    REPO = "repo"  # {models,datasets,spaces,kernels}--ns--name
    BLOBS = "blobs"  # <repo>/blobs
    TREES = "trees"  # <repo>/trees: what is in a commit, by path, size and sha256
    REFS = "refs"  # <repo>/refs and below: names of branches hold slashes
    SNAPSHOTS = "snapshots"  # <repo>/snapshots
    SNAPSHOT = "snapshot"  # <repo>/snapshots/<commit> and below
    SHARED = "shared"  # hub/blobs
    SHARED_BLOBS = "shared-blobs"  # hub/blobs/<2 hex>
    LOCKS = "locks"  # hub/.locks, and below but for
    REPO_LOCKS = "repo-locks"  # hub/.locks/{models,datasets,spaces,kernels}--ns--name, and below
    XET = "xet"
    XET_LOGS = "xet-logs"  # xet/logs and below
    SANDBOX = "sandbox"
    SANDBOX_POOLS = "sandbox-pools"  # sandbox/pools and below: access to running machines
    ACCELERATE = "accelerate"
    UNFINISHED = "unfinished"  # <anything>.incomplete/, tmpXXXXXXXX/ and below

    @property
    def receives_downloads(self) -> bool:
        """As `Place`."""
        return self is HubPlace.BLOBS

    @property
    def holds_shared_content(self) -> bool:
        """As `Place`."""
        return self is HubPlace.SHARED_BLOBS

    @property
    def is_repository(self) -> bool:
        """As `Place`."""
        return self is HubPlace.REPO

    def lists(self, name: bytes) -> bool:
        """As `Place`."""
        return self is HubPlace.TREES and _LISTING.fullmatch(name) is not None

    def unfinished(self, name: bytes) -> bytes | None:
        """As `Place`."""
        found = _DOWNLOAD.fullmatch(name) if self is HubPlace.BLOBS else None
        return bytes.fromhex(found[1].decode("ascii")) if found is not None else None

    def enter(self, name: bytes) -> HubPlace:
        """As `Place`."""
        if id(self) in _FINAL:
            return self
        if self is HubPlace.REPO:
            if (below := _IN_REPO.get(name)) is not None:
                return below
        elif self is HubPlace.LOCKS:
            return HubPlace.REPO_LOCKS if _REPO.fullmatch(name) else self
        elif self is HubPlace.SNAPSHOTS:
            if _COMMIT.fullmatch(name):
                return HubPlace.SNAPSHOT
        elif self is HubPlace.SHARED:
            if _SHARD.fullmatch(name):
                return HubPlace.SHARED_BLOBS
        elif self is HubPlace.XET:
            if name == b"logs":
                return HubPlace.XET_LOGS
        elif self is HubPlace.SANDBOX and name == b"pools":
            return HubPlace.SANDBOX_POOLS
        if (below := _ANYWHERE.get(name)) is not None:
            return below
        if _REPO.fullmatch(name):
            return HubPlace.REPO
        if _UNFINISHED.fullmatch(name):
            return HubPlace.UNFINISHED
        return HubPlace.OTHER

    def classify(self, name: bytes) -> Name:
        """As `Place`. Secret goes before scratch.

        Only 64 lower-case hex digits directly in a repository's `blobs/` promise something: 40 digits may be a mirror's
        sha1 of the file, the shared store's names are Xet hashes, those in `datasets/downloads/` are hashes of URLs.
        """
        if self is HubPlace.SANDBOX_POOLS or _SECRET.fullmatch(name):
            return _SECRET_NAME
        if self is HubPlace.BLOBS and _SHA256.fullmatch(name):
            return Name(Kind.PROMISE, bytes.fromhex(name.decode("ascii")))
        if id(self) in _ALL_SCRATCH or _SCRATCH.fullmatch(name):
            return _SCRATCH_NAME
        if self is HubPlace.REFS and name.endswith(b".tmp"):
            return _SCRATCH_NAME
        if self is HubPlace.ACCELERATE and _ACCELERATE_CONFIG.fullmatch(name):
            return _SECRET_NAME
        return _CONTENT_NAME

    def may_be_elsewhere(self, name: bytes) -> bool:
        """As `Place`: blobs, and content that is in no repository.

        Not in a snapshot, whose links lead to blobs; nor what clients and their store must find at once: `refs/`,
        `trees/`, and the marker and the lists of the shared store, without which the client refuses it for good.
        """
        return (
            id(self) in _ELSEWHERE
            and self.classify(name).is_sealed
            and name != b".huggingface-shared-blobs"
            and not name.endswith(b".refs")
        )

    def shared_content(self, name: bytes, target: bytes) -> bytes | None:
        """As `Place`: what came by Xet lies at `hub/blobs/<2 hex>/<xet hash>`; a repository's blob is a link to it."""
        if self is HubPlace.BLOBS and _SHA256.fullmatch(name) and (found := _INTO_SHARED.fullmatch(target)):
            return found[1]
        return None

    def admits(self, name: bytes) -> bool:
        """As `Place`: repositories with their blobs and snapshots, and directories of plain content. Nothing that says
        what a branch is (`refs/`, `trees/`), is run (`modules/`), configures (`accelerate/`) or has rules of its own.
        """
        if self is HubPlace.SNAPSHOT:
            return not _SECRET.fullmatch(name)
        below = self.enter(name)
        if self is HubPlace.REPO:
            return below is HubPlace.BLOBS or below is HubPlace.SNAPSHOTS
        if self is HubPlace.SNAPSHOTS:
            return below is HubPlace.SNAPSHOT
        if self is not HubPlace.OTHER or name == _MODULES or name.startswith(b".") or _SECRET.fullmatch(name):
            return False
        return below is HubPlace.OTHER or below is HubPlace.REPO

    def fills_in(self, name: bytes, *, is_link: bool) -> bool:
        """As `Place`: blobs whose names can be compared with their content, the links of snapshots, and content that is
        neither hidden nor run as it is."""
        if not self.classify(name).is_sealed:
            return False
        if self is HubPlace.SNAPSHOT:
            return is_link
        if is_link:
            return False
        if self is HubPlace.BLOBS:
            return _SHA256.fullmatch(name) is not None or _COMMIT.fullmatch(name) is not None
        return self is HubPlace.OTHER and not name.startswith(b".") and not _RUN.fullmatch(name)

    def guarded(self, directory: bytes, name: bytes) -> Guarded | None:
        """As `Place`: huggingface_hub downloads `<repo>/blobs/<etag>` under the lock `.locks/<repo>/<etag>.lock`, and
        waits for that however long it takes. Other clients lock files in `blobs/`, and may give up."""
        if self is HubPlace.REPO_LOCKS and (found := _LOCK.fullmatch(name)):
            return Guarded(bytes.fromhex(found[1].decode("ascii")), b"%b/blobs/%b" % (directory, found[1]))
        return None

    def is_immutable(self, name: bytes, *, is_link: bool) -> bool:
        """As `Place`: blobs, those of the shared store too, and the symlinks of a snapshot.

        A blob of 40 digits promises nothing, but it is not rewritten either.
        """
        if self is HubPlace.SNAPSHOT:
            return is_link
        if self is HubPlace.BLOBS:
            return _SHA256.fullmatch(name) is not None or _COMMIT.fullmatch(name) is not None
        return self is HubPlace.SHARED_BLOBS and _SHA256.fullmatch(name) is not None


_ANYWHERE = {
    b"blobs": HubPlace.SHARED,
    b".locks": HubPlace.LOCKS,
    b"xet": HubPlace.XET,
    b"sandbox": HubPlace.SANDBOX,
    b"accelerate": HubPlace.ACCELERATE,
}
_IN_REPO = {
    b"blobs": HubPlace.BLOBS,
    b"refs": HubPlace.REFS,
    b"snapshots": HubPlace.SNAPSHOTS,
    b"trees": HubPlace.TREES,
}
# Names below these mean nothing more.
_FINAL = frozenset(
    id(place)  # the hash of an Enum is a call of Python; this is asked at every lookup
    for place in (
        HubPlace.SNAPSHOT,
        HubPlace.REFS,
        HubPlace.REPO_LOCKS,
        HubPlace.XET_LOGS,
        HubPlace.SANDBOX_POOLS,
        HubPlace.UNFINISHED,
    )
)
_ELSEWHERE = frozenset(id(place) for place in (HubPlace.OTHER, HubPlace.BLOBS, HubPlace.SHARED, HubPlace.SHARED_BLOBS))
_ALL_SCRATCH = frozenset(
    id(place) for place in (HubPlace.LOCKS, HubPlace.REPO_LOCKS, HubPlace.XET_LOGS, HubPlace.UNFINISHED)
)


def root_place(path: bytes) -> HubPlace:
    """What the directory at the absolute `path` is, as the root of a mount.

    Directories that are merely unfinished do not count: who mounts `/tmp/tmp1a2b3c4d` means what is in it.
    """
    place = HubPlace.OTHER
    for name in path.split(b"/"):
        if name:
            place = place.enter(name)
            if place is HubPlace.UNFINISHED:
                place = HubPlace.OTHER
    return place


def repository_over(path: bytes) -> tuple[bytes, str, str] | None:
    """The repository that a path lies in, or is: the path up to it, its kind in the plural, and its name."""
    names = path.split(b"/")
    for at, name in enumerate(names):
        if _REPO.fullmatch(name):
            kind, _, rest = name.partition(b"--")
            return b"/".join(names[: at + 1]), kind.decode(), os.fsdecode(rest).replace("--", "/", 1)
    return None


def shared_blob(repository: bytes, xet_hash: str) -> bytes:
    """The path of what came by Xet, in the store that the clients share, from the path of a repository beside it."""
    above, slash, _ = repository.rpartition(b"/")
    return above + slash + b"blobs/" + xet_hash[:2].encode() + b"/" + xet_hash.encode()


def is_loaded_dataset(path: bytes) -> bool:
    """Whether an absolute path lies in a cache of `load_dataset`, by the names on the way: below a directory `datasets`
    with no repository in it. Its client looks at one file there and takes the others for granted (H30)."""
    names = path.split(b"/")[:-1]
    for name in reversed(names):
        if _REPO.fullmatch(name) or name == b"hub":
            return False
        if name == b"datasets":
            return True
    return False


def cache_over(path: bytes) -> bytes | None:
    """The directory of the cache that an absolute path lies in, by the names on the way: that above `hub/`, that above
    a repository, or `.cache/huggingface`. None where no name tells."""
    names = path.split(b"/")
    for at, name in enumerate(names):
        if name == b"huggingface" and names[at - 1] == b".cache":
            return b"/".join(names[: at + 1])
        if _REPO.fullmatch(name):
            end = at - 1 if names[at - 1] == b"hub" else at
            return b"/".join(names[:end]) or None
    return None
