"""What a view counts of the kernel's requests. To count costs an addition: nothing is timed, and nothing waits."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Since the view was mounted.

    `reads`: READs that were answered with bytes, `read_bytes` of them; `waited_reads`: those of all READs that could
    not be answered at once from memory; `failed_reads`: those that were answered with an error. `native_opens`: those
    of all opens after which the kernel reads the file beneath itself, without READs.
    """

    lookups: int = 0
    opens: int = 0
    native_opens: int = 0
    reads: int = 0
    read_bytes: int = 0
    waited_reads: int = 0
    failed_reads: int = 0
    writes: int = 0
    written_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, length: int, *, waited: bool) -> None:
        """A READ is answered with that many bytes. Any thread may call this."""
        with self._lock:
            self.reads += 1
            self.read_bytes += length
            self.waited_reads += waited

    def failed_read(self, *, waited: bool) -> None:
        """A READ is answered with an error."""
        with self._lock:
            self.failed_reads += 1
            self.waited_reads += waited
