"""Mutants of the promises on a site of machines: S83 and S84."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S83",
        "each machine that asks has the lease",
        "ipfsfs/workers/server/leases.py",
        "                return None if lease is None else lease.told(now)\n",
        "                return None\n",
        ("tests/site/test_one_download.py",),
    ),
    Mutant(
        "S84",
        "what machines gave counts as of other origins",
        "ipfsfs/workers/fetcher/served.py",
        '{"peer": "peers", "hub": "hub"}',
        '{"peer": "others", "hub": "hub"}',
        ("tests/site/test_peers_told.py",),
    ),
    Mutant(
        "S84",
        "what programs downloaded is not counted",
        "ipfsfs/view/upkeep/promises.py",
        "self.downloads.kept_bytes += digest.identity.size",
        "self.downloads.kept_bytes += 0",
        ("tests/site/test_peers_told.py",),
    ),
)
