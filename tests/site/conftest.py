"""Sites for tests: machines in namespaces, which need root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.llama import Llama, write_llama
from tests.support.machines import Site

SMALL: int = 24_000_000
LARGE: int = 500_000_000


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[int], Site]]:
    """Makes a site of so many machines; when the test ends, no daemon of it must have complained."""
    with ExitStack() as ended:
        made: list[Site] = []

        def make(count: int) -> Site:
            made.append(ended.enter_context(Site.make(tmp_path / f"site{len(made)}", count)))
            return made[-1]

        yield make
        if not getattr(request.node, "failed", False):
            for one in made:
                for machine in one.machines:
                    complaints = machine.view.complaints()
                    assert not complaints, "\n".join([f"not expected in {machine.computer.name}'s log:", *complaints])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    """A model of 24 MB in four files."""
    return write_llama(tmp_path_factory.mktemp("small") / "model", SMALL, shards=4)


@pytest.fixture(scope="session")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    """A model of 50 MB in one file."""
    return write_llama(tmp_path_factory.mktemp("one-file") / "model", 50_000_000)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    """A model of 500 MB, for campaigns."""
    return write_llama(tmp_path_factory.mktemp("large") / "model", LARGE, shards=2)
