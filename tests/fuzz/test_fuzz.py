"""Bytes from outside, made up by hypothesis for a moment, and by atheris for a second or, in a campaign, for long."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, timed
from tests.support.mounted import TREE

SECONDS = int(os.environ.get("IPFSFS_STORM_SECONDS", "60"))
"""How long atheris fuzzes each target in a campaign."""
MEMORY_MIB = 1024
needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="no atheris is built for this Python (pyproject.toml says for which)",
)


@pytest.mark.parametrize("target", TARGETS)
def test_what_means_something_and_what_was_found_once(target: str) -> None:
    for data in seeds(target):
        timed(TARGETS[target])(data)


@pytest.mark.parametrize("target", TARGETS)
def test_made_up_bytes_do_no_harm(target: str) -> None:
    known = seeds(target)

    @given(
        data=st.binary(max_size=400) | st.sampled_from(known), where=st.integers(0, 400), patch=st.binary(max_size=8)
    )
    @settings(max_examples=300, deadline=None, database=None)
    @example(data=b"", where=0, patch=b"")
    def once(data: bytes, where: int, patch: bytes) -> None:
        TARGETS[target](data[:where] + patch + data[where + len(patch) :])

    once()


@needs_atheris
@pytest.mark.parametrize("target", ["car", "dag", "http"])
def test_atheris_finds_nothing_in_a_second(target: str, tmp_path: Path) -> None:
    """The harness itself, and what is nearest to what is known. To make each ready takes ten times as long."""
    _fuzz(target, tmp_path, 1)


@needs_atheris
@pytest.mark.campaign
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(SECONDS + 600)
def test_atheris_finds_no_bytes_that_do_harm(target: str, tmp_path: Path) -> None:
    """`IPFSFS_STORM_SECONDS` for each target; at most 1 GiB of memory, and 5 s for any one input."""
    said = _fuzz(target, tmp_path, SECONDS)
    print(f"\natheris: {json.dumps({'target': target, 'seconds': SECONDS, 'said': said})}")


def _fuzz(target: str, directory: Path, seconds: int) -> list[str]:
    """Have atheris at a target; returns how far it came. What it finds is copied to `found/TARGET` by who mends it."""
    corpus, known = directory / "corpus", directory / "known"
    corpus.mkdir()
    known.mkdir()
    for number, data in enumerate(seeds(target)):
        (known / str(number)).write_bytes(data)
    options = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MIB}", "-max_len=65536", "-timeout=30"]
    harness = [sys.executable, "-m", "tests.fuzz.run", target, *options, f"-artifact_prefix={directory}/"]
    # By a shell that lives on: a process begins with the peak of the memory of the one that it takes the place of, and
    # libFuzzer counts that. These tests' own process may be large.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *harness, corpus, known],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=seconds + 300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return [line for line in done.stderr.splitlines() if "cov:" in line or line.startswith("Done")][-2:]
