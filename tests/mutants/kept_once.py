"""Mutants of the promises on what is here already: S47 to S49."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

HERE: Final = "tests/mount/placeholders/test_here.py"
DEDUP: Final = "tests/mount/test_dedup.py"
LINKING: Final = "tests/unit/test_linking.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S47",
        "what was copied is not compared",
        "ipfsfs/workers/fetcher/jobs.py",
        "        return here if hashlib.sha256(here).digest() == cid.digest(leaf.cid) else None\n",
        "        return here if len(here) == leaf.length else None\n",
        (HERE,),
    ),
    Mutant(
        "S47",
        "only files of the very same root are copied from",
        "ipfsfs/exchange/local_leaves.py",
        "    if any(wanted.leaves for wanted in waiting):\n",
        "    if not waiting:\n",
        (HERE,),
    ),
    Mutant(
        "S48",
        "no blocks are shared by themselves",
        "ipfsfs/view/upkeep/sharing.py",
        "        if self._is_of_use and seal.size >= UNIT",
        "        if not self._is_of_use and seal.size >= UNIT",
        (DEDUP,),
    ),
    Mutant(
        "S48",
        "a dry run links",
        "ipfsfs/exchange/dedup.py",
        '        if self.do == "share":\n            try:\n                await self.linker.link(',
        "        if self.do:\n            try:\n                await self.linker.link(",
        (DEDUP,),
    ),
    Mutant(
        "S49",
        "who wants to write meanwhile is not heeded",
        "ipfsfs/plain/linking.py",
        "    if not is_right or lease.is_wanted(target):\n",
        "    if not is_right:\n",
        (LINKING,),
    ),
    Mutant(
        "S49",
        "the old file is removed before the new one has its name",
        "ipfsfs/plain/linking.py",
        "    syscalls.renameat2(dir_fd, beside, dir_fd, name, syscalls.RENAME_EXCHANGE)\n    expected",
        "    os.unlink(name, dir_fd=dir_fd)\n    syscalls.renameat2(dir_fd, beside, dir_fd, name, 0)\n    expected",
        (LINKING,),
    ),
)
