"""Replies that the kernel takes no longer, which pyfuse3 logs as errors.

When the last file of an unmounted view is closed, the kernel sends RELEASE, waits for no reply, and ends the
connection. A reply after that fails with ENOENT, as does any reply to a request that was in progress when a connection
ended. Nothing is lost, and the user has nothing to do: libfuse itself says nothing in that case.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Final

_FAILED: Final = ": fuse_reply_* failed with "


class _Unheard(logging.Filter):
    """Logs a reply that came too late as what it is; every other record stays as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        call, failed, why = record.getMessage().partition(_FAILED)
        if failed and why == os.strerror(errno.ENOENT):
            record.msg, record.args = "%s: the kernel has ended the connection and takes no reply", (call,)
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


_UNHEARD: Final = _Unheard()


def install() -> None:
    """Have pyfuse3 log by these rules. May be called again."""
    logging.getLogger("pyfuse3").addFilter(_UNHEARD)
