"""Who pins for others, as the user names them in the configuration file.

    [cluster]
    url = "http://127.0.0.1:9094"
    authorization_file = "~/.config/ipfsfs/cluster.authorization"     # Basic ... or Bearer ...

    [service.NAME]
    url = "https://pinning.example/psa"
    token_file = "~/.config/ipfsfs/NAME.token"                        # the token alone

The file is that of `ipfsfs.cli.settings.file`. Secrets are in files that only their owner may read: they stand in no
argument, no environment and no error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ipfsfs.cli.settings import file
from ipfsfs.cli.settings.kinds import refuse_a_secret
from ipfsfs.errors import UsageError
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.printed import printable, shell

CLUSTER: Final = "http://127.0.0.1:9094"
"""Where a peer of IPFS Cluster listens unless it is told otherwise."""
_SECRET_MAX: Final = 8192
_KEYS: Final = {"cluster": {"url", "authorization_file"}, "service": {"url", "token_file"}}


def cluster() -> OriginSettings:
    """The cluster that is set, else the one that listens on this machine. Raises UsageError."""
    said = _file().get("cluster", {})
    path = _checked("cluster", said).get("authorization_file")
    return OriginSettings("cluster", str(said.get("url", CLUSTER)), _secret(path) if path else None)


def service(name: str) -> OriginSettings:
    """The service of a name. Raises UsageError where there is none, or it is not set as it should be."""
    services = _file().get("service", {})
    if not isinstance(services, dict) or name not in services:
        known = ", ".join(sorted(services)) if isinstance(services, dict) and services else "none"
        raise UsageError(
            f"no pinning service is called '{printable(name)}'; known: {printable(known)}",
            hint=f'Write in {_path()}:\n  [service.NAME]\n  url = "https://..."\n  token_file = "PATH"',
        )
    said = _checked("service", services[name])
    if "url" not in said:
        raise UsageError(f"{_path()}: the service {name} has no url")
    path = said.get("token_file")
    token = _secret(path) if path else ""
    return OriginSettings("service", said["url"], f"Bearer {token.removeprefix('Bearer ')}" if token else None)


def _path() -> Path:
    return file.read().path or file.usual_path()


def _file() -> Mapping[str, Any]:
    return file.read().keepers


def _checked(kind: str, said: object) -> dict[str, str]:
    known = _KEYS[kind]
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise UsageError(f"{_path()}: [{kind}] holds something else than text", hint=f"It has {', '.join(known)}.")
    if unknown := set(said) - known:
        raise UsageError(f"{_path()}: [{kind}] has no {sorted(unknown)[0]!r}", hint=f"It has {', '.join(known)}.")
    return said


def _secret(named: str) -> str:
    refuse_a_secret(named)
    path = _path().parent / Path(named).expanduser()
    try:
        return _read(path, _SECRET_MAX).strip()
    except OSError as error:
        raise UsageError(f"the secret in {path} cannot be read: {error.strerror}") from error


def _read(path: Path, most: int) -> str:
    """The text of a file that is the user's own. Raises OSError, UsageError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_uid not in (os.geteuid(), 0):
            raise UsageError(f"{path} is no file of yours: it is not used")
        if st.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(f"other users may write to {path}", hint=f"chmod go-w {shell(path)}")
        if st.st_mode & 0o077:
            raise UsageError(f"other users may read the secret in {path}", hint=f"chmod 600 {shell(path)}")
        return os.read(fd, most).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8") from None
    finally:
        os.close(fd)
