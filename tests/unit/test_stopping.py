"""How long a daemon that is asked to stop may serve open files."""

from __future__ import annotations

import math

import pytest

from ipfsfs.daemon.stopping import in_seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30s", 30),
        ("1min 30s", 90),
        ("2h 5min 100ms", 7500.1),
        ("1w 1d", 8 * 86400),
        ("infinity", math.inf),
        ("", None),
        ("soon", None),
        ("1min soon", None),
    ],
)
def test_a_span_of_time_is_read_as_systemd_writes_it(said: str, seconds: float | None) -> None:
    assert in_seconds(said) == seconds
