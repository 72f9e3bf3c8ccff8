"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.printed import CALLED_AS
from tests.support.elsewhere import Elsewhere
from tests.support.filesystems import KINDS
from tests.support.kubo_node import KuboNode
from tests.support.leased import LeasedView
from tests.support.mounted import Mounted, clear
from tests.support.own_mounts import own_mounts
from tests.support.place_of_tests import PlaceOfTests

_PLACE: Final = pytest.StashKey[PlaceOfTests]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--filesystem", choices=KINDS, help="run the tests on an image of this filesystem (as root)")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Who started the tests in the background has it ignored, and so would all that they start and interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    own_mounts()
    os.environ[CALLED_AS] = "ipfsfs"  # or messages would name the Python that runs the tests
    if kind := config.getoption("filesystem"):
        try:
            config.stash[_PLACE] = place = PlaceOfTests.make(kind)
        except (OSError, subprocess.CalledProcessError) as error:
            raise pytest.UsageError(f"there can be no {kind} here: {getattr(error, 'stderr', None) or error}") from None
        config.option.basetemp = str(place.directory / "t")


def pytest_unconfigure(config: pytest.Config) -> None:
    if (place := config.stash.get(_PLACE, None)) is not None:
        place.give_up()


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Mounted]]:
    """Mounts directories with the real command; when the test ends, each is unmounted and checked.

    `mounted()` mounts a new directory, `mounted(path, "--chunker", "fixed")` one that is there, with arguments.
    """
    made: list[Mounted] = []

    def mount(path: Path | None = None, *arguments: str) -> Mounted:
        if path is None:
            path = tmp_path / f"cache{len(made) or ''}"
            path.mkdir()
        made.append(Mounted(path, arguments))
        return made[-1].mount()

    yield mount
    try:
        failed = getattr(request.node, "failed", False)
        for one in made:
            if not failed:
                one.finish()
    finally:
        for one in made:
            clear(one.path)


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """How sealed files are read is what the test asks for, or the default, whatever the environment asks for: for tests
    of rot that reads find, and of the settings themselves."""
    for setting in ("IPFSFS_CHECK", "IPFSFS_NATIVE_FROM"):
        monkeypatch.delenv(setting, raising=False)


@pytest.fixture
def leased(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., LeasedView]]:
    """Mounts a view of which the test says what other machines download; each is unmounted and checked at the end."""
    made: list[LeasedView] = []

    def mount(path: Path | None = None, **options: Any) -> LeasedView:
        path = path or tmp_path / f"cache{len(made)}"
        path.mkdir(exist_ok=True)
        made.append(LeasedView(path, **options))
        return made[-1].mount()

    yield mount
    try:
        for one in made:
            if not getattr(request.node, "failed", False):
                one.finish()
    finally:
        for one in made:
            one.close()
            clear(one.path)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that other users can reach; pytest's are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="ipfsfs-users-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """A real IPFS node, on loopback and in a swarm of its own."""
    node = KuboNode(tmp_path_factory.mktemp("kubo"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def elsewhere(kubo: KuboNode, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[Elsewhere]:
    """Content that lies on the node, and views that have it from there."""
    found = Elsewhere(kubo, mounted, tmp_path)
    yield found
    found.give_up_placeholders()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know whether the test itself failed: then they only clean up, and do not bury the reason."""
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report
