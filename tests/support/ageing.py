"""A view that serves, and for whose daemon a test has days pass."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

from ipfsfs.daemon.config import Config, OriginConfig, SiteConfig
from tests.support.mounted import environment
from tests.support.own_daemon import OwnDaemon


@dataclass(slots=True)
class AgeingView(OwnDaemon):
    """It serves anyone at a port of loopback what the Hub at a URL gives to anyone."""

    port: int = 0
    hub: str = ""

    def mount(self) -> AgeingView:
        """As users mount, but for the clock."""
        site = SiteConfig(serve=f"127.0.0.1:{self.port}")
        config = Config(self.path, self.store, hub=OriginConfig("hub", self.hub), site=site)
        self.start([sys.executable, "-m", "tests.support.ageing_daemon", config.to_json()], environment())
        return self

    def a_day_passes(self) -> None:
        """For the daemon; it sees that within a second."""
        os.kill(self.pid, signal.SIGUSR1)
