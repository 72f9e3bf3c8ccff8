"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, clear


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know whether the test itself failed: then they only clean up, and do not bury the reason."""
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report
