"""A local Hugging Face Hub for tests: real clients talk to it with `HF_ENDPOINT` set to its `url`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.hub_storage import HubStorage, RepoKey, StoredFile
from tests.support.namespaces import Computer

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Request:
    """A request the Hub has answered. `name` is `{kind}/{ns}/{name}/{path}` where content was asked for, else empty."""

    method: str
    path: str
    name: str
    range: str | None
    authorization: str | None
    port: int
    status: int
    client: str  # the address of who asked
    sent: int  # bytes of the body


class LocalHub:
    """Runs the server process below `root` until `close`: on this machine, or on a computer of its own at `address`.

    Raises AssertionError at `close` if the server itself failed to answer any request.
    """

    def __init__(self, root: Path, computer: Computer | None = None, address: str = "127.0.0.1") -> None:
        self._computer = computer
        self.storage = HubStorage(root)
        root.mkdir(parents=True, exist_ok=True)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            self._command(str(root), address),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        port, self.content_port = json.loads(self._process.stdout.readline())
        self.url = f"http://{address}:{port}"

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        *,
        kind: str = "models",
        revision: str = "main",
        xet: bool = False,
    ) -> str:
        """Publish `files` as a new commit of `revision`; returns the commit id. `xet` serves the LFS files over Xet."""
        return self.storage.commit(RepoKey(kind, repo_id), files, revision, xet=xet)

    def add_folder(self, repo_id: str, folder: Path, *, kind: str = "models", xet: bool = False) -> str:
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return self.add(repo_id, files, kind=kind, xet=xet)

    def restrict(self, repo_id: str, access: str, token: str, *, kind: str = "models") -> None:
        """Let only who has a token have a repository's files. `access`: "private" or "gated"."""
        self.storage.restrict(RepoKey(kind, repo_id), access, token)

    def forget(self, repo_id: str, commit: str, *, kind: str = "models") -> None:
        """Have a commit no longer, as after a history was rewritten."""
        self.storage.forget(RepoKey(kind, repo_id), commit)

    def files(self, repo_id: str, *, kind: str = "models", revision: str = "main") -> dict[str, StoredFile]:
        """What the repository holds, by path: sizes and hashes as the real Hub would name them."""
        key = RepoKey(kind, repo_id)
        commit = self.storage.resolve(key, revision)
        assert commit is not None, f"no {revision} in {repo_id}"
        return self.storage.files(key, commit)

    def spoil(
        self,
        repo_id: str,
        path: str,
        *,
        kind: str = "models",
        flip: int | None = None,
        cut_after: int | None = None,
        rate: int | None = None,
        times: int | None = None,
    ) -> None:
        """Serve one file badly: byte `flip` wrong, cut after that many bytes, or slow (bytes/s); `times` None: always.

        A flip keeps the size right and counts only responses that hold the byte. Replaces an earlier fault of the file.
        """
        fault = {"flip": flip, "cut_after": cut_after, "rate": rate, "times": times}
        self._call("/_test/fault", json.dumps({"name": f"{kind}/{repo_id}/{path}", "fault": fault}).encode())

    def heal(self, repo_id: str, path: str, *, kind: str = "models") -> None:
        """Serve the file rightly again."""
        self.spoil(repo_id, path, kind=kind, times=0)

    def limit(self, *, each: int = 0, all_: int = 0) -> None:
        """Send content no faster than so many bytes a second to each address, and to all together; 0 for no limit."""
        self._call("/_test/limit", json.dumps([each, all_]).encode())

    def sent(self) -> dict[tuple[str, str], int]:
        """The bytes of content that have gone, by the address of who asked and the file's `{kind}/{ns}/{name}/{path}`:
        what of an answer has not gone yet is not among them."""
        return {(client, name): count for client, name, count in json.loads(self._call("/_test/sent"))}

    def requests(self, repo_id: str = "", *, kind: str = "models") -> list[Request]:
        """Everything answered so far, or only what was asked of the content of one repository."""
        answered = [Request(**fields) for fields in json.loads(self._call("/_test/requests"))]
        return [r for r in answered if not repo_id or r.name.startswith(f"{kind}/{repo_id}/")]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()
        with self._errors:
            self._errors.seek(0)
            errors = self._errors.read()
        assert not errors, f"the local Hub failed:\n{errors}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _command(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "tests.support.hub_server", *arguments]
        return command if self._computer is None else self._computer.entered(*command, directory=ROOT)

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        def call() -> bytes:
            with urllib.request.urlopen(self.url + path, body, timeout=30) as response:
                answer: bytes = response.read()
            return answer

        return call() if self._computer is None else self._computer.in_network(call)
