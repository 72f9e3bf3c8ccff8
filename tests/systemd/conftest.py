"""A machine with the units, which is booted once for all tests of a process."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.booted import Booted, booted, unable
from tests.support.view_unit import ViewUnit


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """It has the units as `install-units` writes them, from a checkout that cannot be written."""
    if reason := unable():
        pytest.skip(reason)
    with booted(tmp_path_factory.mktemp("machine")) as made:
        installed = made.install_units("/srv/any")
        assert installed.returncode == 0, installed.stderr
        made.shell("mkdir -p /sbin && ln -s /opt/ipfsfs/mount_scripts/mount.ipfsfs /sbin/mount.ipfsfs")
        made.run("systemctl", "daemon-reload")
        yield made


@pytest.fixture
def unit(machine: Booted, request: pytest.FixtureRequest) -> Iterator[ViewUnit]:
    """The unit of a new directory in the machine; it does not run yet, and does not any more when the test ends."""
    made = ViewUnit.make(machine, re.sub(r"\W+", " ", request.node.name.removeprefix("test_"))[:60].strip())
    yield made
    made.end()
