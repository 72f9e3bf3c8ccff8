"""Values of all settings, and what `ipfsfs config` says of them."""

from __future__ import annotations

import json
from typing import Any, Final

from click.testing import CliRunner, Result

from ipfsfs.cli.main import cli
from ipfsfs.cli.settings.table import SETTINGS

OTHER: Final[dict[str, tuple[str, object]]] = {
    "store": ("/srv/store", "/srv/store"),
    "allow_other": ("yes", True),
    "chunker": ("fixed", "fixed"),
    "restart": ("true", True),
    "quarantine_size": ("2MB", 2_000_000),
    "kubo": ("http://127.0.0.1:5001 unix:///run/api", ["http://127.0.0.1:5001", "unix:///run/api"]),
    "kubo_authorization_file": ("/srv/secret", "/srv/secret"),
    "gateway": ("https://gateway.example", ["https://gateway.example"]),
    "routing": ("http://127.0.0.1:8080", ["http://127.0.0.1:8080"]),
    "ipfs_kit_py": ("on", True),
    "hub": ("http://hub.example", "http://hub.example"),
    "hub_token_file": ("/srv/token", "/srv/token"),
    "patience": ("7", 7),
    "cache_size": ("3GB", 3_000_000_000),
    "check": ("native", "native"),
    "scrub": ("2d", 172_800),
    "native_from": ("1M", 1_000_000),
    "serve": ("10.0.0.1:4780", "10.0.0.1:4780"),
    "peers": ("10.0.0.1:4780;node2:4780", "10.0.0.1:4780;node2:4780"),
    "token_file": ("/srv/site", "/srv/site"),
    "open": ("yes", True),
    "share": ("all", "all"),
    "trust_peers": ("yes", True),
    "upstream": ("/ipns/models.example", "/ipns/models.example"),
    "team": ("ml", "ml"),
    "metrics": ("http://127.0.0.1:9400", "http://127.0.0.1:9400"),
    "stock_init": ("1", True),
}
"""For each setting, a text that is not its default, and what `config --json` shows for it."""


def run_config(*arguments: str, **environment: str) -> Result:
    """Run it where no setting comes from elsewhere."""
    nowhere = {entry.environment: "" for entry in SETTINGS.values()}
    lonely = {"XDG_CONFIG_HOME": "/nonexistent", "XDG_CONFIG_DIRS": "/nonexistent", "IPFSFS_CONFIG": ""}
    return CliRunner().invoke(cli, ["config", *arguments], env={**nowhere, **lonely, **environment})


def found(*arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    """All settings as it finds them, by name."""
    done = run_config(*arguments, "--json", **environment)
    assert done.exit_code == 0, done.output
    return {one["name"]: one for one in json.loads(done.stdout)["settings"]}
