"""What the local Hub serves: repositories as commits on disk, each file under the hash the real Hub would give it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# As the .gitattributes of a new Hub repository: these go to LFS whatever their size, others above 10 MB.
LFS_SUFFIXES = (
    ".arrow", ".bin", ".ckpt", ".gguf", ".gz", ".h5", ".model", ".npz", ".onnx", ".parquet", ".pt", ".pth",
    ".safetensors", ".tar", ".zip", ".zst",
)  # fmt: skip
LFS_ABOVE_BYTES = 10_000_000

# hf_xet's simulator holds a lock on its database while a process uses it, so an upload runs in a process of its own.
XET_UPLOAD = """
import json, sys
from hf_xet import SKIP_SHA256, XetSession
with XetSession().new_upload_commit(endpoint=sys.argv[1]) as commit:
    uploads = {path: commit.start_upload_file(path, sha256=SKIP_SHA256) for path in sys.argv[2:]}
print(json.dumps({path: upload.result().xet_info.hash for path, upload in uploads.items()}))
"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of one commit. `oid` is its git blob id (of the LFS pointer, for an LFS file); sizes are in bytes."""

    size: int
    oid: str
    sha256: str | None  # set for LFS files only
    xet_hash: str | None
    object: str  # the name below objects/ that holds the bytes

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True)
class RepoKey:
    """`kind` is the plural the URLs use: models, datasets or spaces."""

    kind: str
    name: str  # namespace/name

    @property
    def folder(self) -> str:
        return f"{self.kind}--{self.name.replace('/', '--')}"


class HubStorage:
    """Repositories below one directory: the tests write them, the server process reads them anew at each request."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.xet = root / "xet"

    def commit(self, key: RepoKey, files: Mapping[str, bytes | Path], revision: str, *, xet: bool) -> str:
        """Store `files` as the whole content of a new commit, point `revision` to it and return its 40-digit id.

        The same content gives the same id at each run. With `xet` the LFS files are stored in hf_xet's simulator too.
        """
        entries: dict[str, StoredFile] = {}
        for path, content in sorted(files.items()):
            entries[path] = self._store(path, content)
        if xet:
            hashes = self._upload_to_xet([e.object for e in entries.values() if e.sha256])
            entries = {
                path: StoredFile(e.size, e.oid, e.sha256, hashes.get(e.object), e.object) for path, e in entries.items()
            }
        manifest = json.dumps({path: asdict(entry) for path, entry in entries.items()}, indent=1, sort_keys=True)
        commit = hashlib.sha1(f"{key.folder}\0{manifest}".encode(), usedforsecurity=False).hexdigest()
        folder = self.root / "repos" / key.folder
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{commit}.json", manifest.encode())
        replace_file(folder / f"ref--{revision.replace('/', '--')}", commit.encode())
        return commit

    def restrict(self, key: RepoKey, access: str, token: str) -> None:
        """Let only who has a token have a repository's files. `access`: "private" or "gated"."""
        said = json.dumps({"access": access, "token": token}).encode()
        replace_file(self.root / "repos" / key.folder / "access", said)

    def access(self, key: RepoKey) -> tuple[str, str]:
        """Whether a repository is "public", "private" or "gated", and the token that it is to be asked with."""
        try:
            said = json.loads((self.root / "repos" / key.folder / "access").read_text())
        except FileNotFoundError:
            return "public", ""
        return said["access"], said["token"]

    def forget(self, key: RepoKey, commit: str) -> None:
        """Have a commit no longer, as after a history was rewritten."""
        (self.root / "repos" / key.folder / f"{commit}.json").unlink()

    def has(self, key: RepoKey) -> bool:
        return (self.root / "repos" / key.folder).is_dir()

    def resolve(self, key: RepoKey, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit id names, or None."""
        folder = self.root / "repos" / key.folder
        if (folder / f"{revision}.json").is_file():
            return revision
        ref = folder / f"ref--{revision.replace('/', '--')}"
        return ref.read_text() if ref.is_file() else None

    def files(self, key: RepoKey, commit: str) -> dict[str, StoredFile]:
        manifest = (self.root / "repos" / key.folder / f"{commit}.json").read_text()
        return {path: StoredFile(**entry) for path, entry in json.loads(manifest).items()}

    def object_path(self, file: StoredFile) -> Path:
        return self.root / "objects" / file.object

    def xet_for_one_client(self) -> Path:
        """A copy of the Xet simulator's directory, since only one process at a time can open its database."""
        copy = Path(tempfile.mkdtemp(prefix="xet-client-", dir=self.root))

        def link_content(source: str, target: str) -> None:
            if "/xorbs/xorbs/" in source:
                os.link(source, target)
            else:
                shutil.copy2(source, target)

        shutil.copytree(self.xet, copy, copy_function=link_content, dirs_exist_ok=True)
        return copy

    def _store(self, path: str, content: bytes | Path) -> StoredFile:
        objects = self.root / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if path.endswith(LFS_SUFFIXES) or size > LFS_ABOVE_BYTES:
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as data:
                sha256 = hashlib.file_digest(data, "sha256").hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
            stored = StoredFile(size, git_blob_id(pointer.encode()), sha256, None, sha256)
        else:
            content = content if isinstance(content, bytes) else content.read_bytes()
            oid = git_blob_id(content)
            stored = StoredFile(size, oid, None, None, oid)
        if not (objects / stored.object).exists():
            replace_file(objects / stored.object, content)
        return stored

    def _upload_to_xet(self, objects: list[str]) -> dict[str, str]:
        if not objects:
            return {}
        self.xet.mkdir(exist_ok=True)
        paths = [str(self.root / "objects" / name) for name in objects]
        done = subprocess.run(
            [sys.executable, "-c", XET_UPLOAD, f"local://{self.xet}", *paths],
            env={"PATH": os.environ["PATH"], "HF_HOME": str(self.root / "xet-upload-home")},
            check=True,
            capture_output=True,
            text=True,
        )
        return {Path(path).name: xet_hash for path, xet_hash in json.loads(done.stdout).items()}


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def replace_file(path: Path, content: bytes | Path) -> None:
    """Write beside and rename: the server may be reading the old one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    if isinstance(content, bytes):
        partial.write_bytes(content)
    else:
        shutil.copyfile(content, partial)
    partial.rename(path)
