"""A view that serves, and for whose daemon a test has days pass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from ipfsfs.daemon.config import Config, OriginConfig, SiteConfig
from tests.support.mounted import Mounted, environment


@dataclass(slots=True)
class AgeingView(Mounted):
    """It serves anyone at a port of loopback what the Hub at a URL gives to anyone."""

    port: int = 0
    hub: str = ""
    process: subprocess.Popen[str] | None = None

    def mount(self) -> AgeingView:
        """As users mount, but for the clock."""
        site = SiteConfig(serve=f"127.0.0.1:{self.port}")
        config = Config(self.path, self.store, hub=OriginConfig("hub", self.hub), site=site)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ageing_daemon", config.to_json()],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.log()
        self.pid = self.process.pid
        return self

    def a_day_passes(self) -> None:
        """For the daemon; it sees that within a second."""
        os.kill(self.pid, signal.SIGUSR1)

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
