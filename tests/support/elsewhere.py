"""Content that lies on an IPFS node, and views in which it is attached."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kubo_node import CANARY, KuboNode
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import descriptors

Content = dict[str, bytes | str]
"""A tree by its paths: bytes are a file's, text is the target of a link."""

_PUBLISHED: dict[tuple[str, str], str] = {}
"""By node and content, what was published in this run: a node keeps it."""


@dataclass(slots=True)
class Elsewhere:
    """A node, and views that know it as their origin. When the test ends, views are unmounted with what is in them."""

    node: KuboNode
    _mounted: Callable[..., Mounted]
    _directory: Path
    _views: list[Mounted] = field(default_factory=list)

    @property
    def options(self) -> tuple[str, ...]:
        """What a view is mounted with to have content from the node."""
        secret = self._directory / "authorization"
        secret.write_text(f"Bearer {CANARY}\n")
        return ("--kubo", self.node.api, "--kubo-authorization-file", str(secret))

    def publish(self, content: Content) -> str:
        """The CID of a tree that lies at the node, and nowhere else."""
        key = self.node.api, repr(content)
        if key not in _PUBLISHED:
            tree = self._directory / f"published{len(_PUBLISHED)}"
            write(tree, content)
            _PUBLISHED[key] = ipfsfs("publish", tree, "--private-too", *self.options).stdout.split()[-1]
        return _PUBLISHED[key]

    def view(self, *arguments: str) -> Mounted:
        """A new view that knows the node."""
        path = self._directory / f"view{len(self._views)}"
        path.mkdir()
        view = self._mounted(path, *self.options, *arguments)
        self._views.append(view)
        return view

    def attached(self, content: Content, *arguments: str) -> tuple[Mounted, Path]:
        """A new view in which a tree is attached, and where."""
        root, view = self.publish(content), self.view(*arguments)
        ipfsfs("attach", root, view.path / "tree")
        return view, view.path / "tree"

    def give_up_placeholders(self) -> None:
        """Unmount: a view with placeholders differs from its plain directory, which other tests' views must not."""
        for view in self._views:
            if view.mounted:
                view.umount()


def write(tree: Path, content: Content) -> None:
    """Make a tree."""
    for name, what in content.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            path.symlink_to(what)
        else:
            path.write_bytes(what)


def plain_root(view: Mounted) -> Path:
    """The plain directory beneath a mounted view: by the descriptor that the daemon holds it by."""
    device = os.stat(view.path).st_dev
    for held, name in descriptors(view.pid).items():
        with suppress(FileNotFoundError):  # descriptors of the moment, for a listing, have that name too
            if name == str(view.path) and held.stat().st_dev != device:
                return held
    raise AssertionError(f"the plain directory of {view.path} is not found")


def plain_link(view: Mounted, path: Path) -> str | None:
    """What stands for a path in the plain directory of a mounted view: a link's text, None where there is no link."""
    try:
        return os.readlink(plain_root(view) / path.relative_to(view.path))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return None


def eventually_resident(view: Mounted, path: Path) -> None:
    """Return when a file is an ordinary one in the plain directory."""
    deadline = time.monotonic() + 20
    while plain_link(view, path) is not None:
        assert time.monotonic() < deadline, f"{path} stays a placeholder"
        time.sleep(0.02)
