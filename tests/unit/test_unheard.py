"""What pyfuse3 logs of replies that failed."""

from __future__ import annotations

import logging
from pathlib import Path

import pyfuse3
import pytest

from ipfsfs.fuse import unheard

LINE = "fuse_release(): fuse_reply_* failed with %s"


def test_the_rules_are_for_lines_that_this_pyfuse3_logs() -> None:
    assert f"log.error('{LINE}', strerror(-ret))" in Path(pyfuse3.__file__).with_name("handlers.pxi").read_text()


@pytest.mark.parametrize(
    ("message", "why", "level", "logged"),
    [
        (
            LINE,
            "No such file or directory",
            logging.INFO,
            "fuse_release(): the kernel has ended the connection and takes no reply",
        ),
        (LINE, "Invalid argument", logging.ERROR, "fuse_release(): fuse_reply_* failed with Invalid argument"),
        ("cannot do it: %s", "No such file or directory", logging.ERROR, "cannot do it: No such file or directory"),
    ],
)
def test_only_a_reply_to_a_connection_that_has_ended_is_no_error(
    caplog: pytest.LogCaptureFixture, message: str, why: str, level: int, logged: str
) -> None:
    """As when the last file of a view is closed after `umount --lazy`."""
    caplog.set_level(logging.INFO)
    unheard.install()
    unheard.install()
    logging.getLogger("pyfuse3").error(message, why)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, logged)]
    assert caplog.records[0].levelname == logging.getLevelName(level)
