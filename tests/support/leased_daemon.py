"""A daemon that a test tells what other machines download.

`python -m tests.support.leased_daemon CONFIG LEASES WITHIN_S`: a file LEASES/<sha256> stands for a lease that another
machine has; an open may wait for WITHIN_S seconds for each of what is known and the keeper. All else is the program's.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from ipfsfs.daemon import __main__ as daemon
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.lifecycle import Running
from ipfsfs.view.locking import UNASKED_S
from ipfsfs.view.view import Dependencies, View

_LOOKED_S = 0.02


@dataclass(slots=True)
class Leases:
    """What a test says that other machines download, by digest."""

    directory: Path

    async def lock_opened(self, sha256: bytes) -> bool:
        """As `Leasing`."""
        return (self.directory / sha256.hex()).exists()

    async def until_free(self, sha256: bytes) -> None:
        """As `Leasing`."""
        lease = self.directory / sha256.hex()
        while True:
            try:
                size = lease.stat().st_size
            except FileNotFoundError:
                return
            if size:
                raise RuntimeError("a bug, as this test has it")
            await trio.sleep(_LOOKED_S)


def main() -> None:
    """Serve in the foreground until unmounted; prints a line once the view answers."""
    config, directory, within_s = Config.from_json(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    build = View.build

    def with_leases(on: Dependencies, nursery: trio.Nursery) -> View:
        view = build(replace(on, leasing=Leases(directory)), nursery)
        view.locking.within_s = within_s
        view.locking.unasked_s = max(UNASKED_S, within_s)
        return view

    View.build = with_leases  # type: ignore[method-assign]  # what is known of other machines comes from the test

    def ready(_: Running) -> None:
        print("ready", flush=True)

    daemon.run(config, ready, to_file=True)


if __name__ == "__main__":
    main()
