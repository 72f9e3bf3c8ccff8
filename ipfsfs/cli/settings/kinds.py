"""Kinds of settings: how a value is written in words and in TOML, and what is refused.

Each kind raises UsageError for what it refuses; who asks puts in front where the value stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ipfsfs.caches.secret import looks_secret
from ipfsfs.cli import sizes
from ipfsfs.daemon.metrics import listening
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins import address, peer_list
from ipfsfs.unixfs import cid

_SIZE_MOST: Final = 1 << 62
_SHOWN: Final = 100
_CREDENTIALS: Final = re.compile(r"\s*(?:bearer|basic|token)\s+\S", re.IGNORECASE)
"""How the value of an Authorization header begins."""
_UPSTREAM: Final = re.compile(r"(?:ipfs://|/ipfs/)?(?P<cid>[A-Za-z0-9]{40,200})|/ipns/[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_GROUP: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]{0,254}\$?")
_SWITCHES: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_TOML_WORDS: Final[dict[type[object], str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number with a point",
    str: "text",
    list: "a list",
    dict: "a table",
}


class Kind(Protocol):
    """What the values of a setting are. `must_be`: in words. `metavar`: what stands for one in `--help`."""

    @property
    def must_be(self) -> str: ...

    @property
    def metavar(self) -> str: ...

    def from_text(self, text: str) -> object:
        """A value as flags and the environment have it. Raises UsageError."""

    def from_toml(self, value: object) -> object:
        """A value as the file has it. Raises UsageError."""

    def shown(self, value: object) -> str:
        """A value as a person reads it."""


def refused(kind: Kind, value: object) -> UsageError:
    """The error for a value that is none."""
    found = repr(value)[:_SHOWN] if isinstance(value, str | int | float) else _TOML_WORDS.get(type(value), "that")
    return UsageError(f"{found} is not {kind.must_be}")


@dataclass(slots=True, frozen=True)
class Switch:
    """On or off."""

    must_be: str = "true or false"
    metavar: str = ""

    def from_text(self, text: str) -> bool:
        """As `Kind`."""
        if text.lower() not in _SWITCHES:
            raise refused(self, text)
        return _SWITCHES[text.lower()]

    def from_toml(self, value: object) -> bool:
        """As `Kind`."""
        if type(value) is not bool:
            raise refused(self, value)
        return value

    def shown(self, value: object) -> str:
        """As `Kind`."""
        return "yes" if value else "no"


@dataclass(slots=True, frozen=True)
class Whole:
    """A whole number within limits, of the unit that the table names."""

    least: int
    most: int
    unit: str

    @property
    def must_be(self) -> str:
        """As `Kind`."""
        return f"a whole number of {self.unit} from {self.least} to {self.most}"

    @property
    def metavar(self) -> str:
        """As `Kind`."""
        return self.unit.upper()

    def from_text(self, text: str) -> int:
        """As `Kind`."""
        if not re.fullmatch(r"[0-9]{1,18}", text) or not self.least <= int(text) <= self.most:
            raise refused(self, text)
        return int(text)

    def from_toml(self, value: object) -> int:
        """As `Kind`."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise refused(self, value)
        return value

    def shown(self, value: object) -> str:
        """As `Kind`."""
        return f"{value} {self.unit}"


@dataclass(slots=True, frozen=True)
class Size:
    """Bytes, as `ipfsfs.cli.sizes` reads them."""

    must_be: str = "a size: write for example 500MB or 16G"
    metavar: str = "SIZE"

    def from_text(self, text: str) -> int:
        """As `Kind`."""
        try:
            return self.from_toml(sizes.parse(text))
        except ValueError:
            raise refused(self, text) from None

    def from_toml(self, value: object) -> int:
        """As `Kind`; a number is one of bytes."""
        if isinstance(value, str):
            return self.from_text(value)
        if type(value) is not int or not 0 <= value <= _SIZE_MOST:
            raise refused(self, value)
        return value

    def shown(self, value: object) -> str:
        """As `Kind`."""
        return f"{value:,} bytes"


_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(slots=True, frozen=True)
class Duration:
    """Whole seconds within limits, as `7d`, `12h`, `30m` or `90s`. Text without a unit is refused, for who writes 7 may
    mean days."""

    least: int
    most: int
    metavar: str = "DURATION"

    @property
    def must_be(self) -> str:
        """As `Kind`."""
        limits = f"from {self.shown(self.least)} to {self.shown(self.most)}"
        return f"a duration {limits}: write for example 7d, 12h, 30m or 90s"

    def from_text(self, text: str) -> int:
        """As `Kind`."""
        found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
        if found is None or not self.least <= int(found[1]) * _UNITS_S[found[2]] <= self.most:
            raise refused(self, text)
        return int(found[1]) * _UNITS_S[found[2]]

    def from_toml(self, value: object) -> int:
        """As `Kind`; a number is one of seconds, as `ipfsfs config --json` shows it."""
        if isinstance(value, str):
            return self.from_text(value)
        if type(value) is not int or not self.least <= value <= self.most:
            raise refused(self, value)
        return value

    def shown(self, value: object) -> str:
        """As `Kind`: in the largest unit up to days of which it is a whole number."""
        assert isinstance(value, int)
        unit = next(unit for unit in "dhms" if value % _UNITS_S[unit] == 0)
        return f"{value // _UNITS_S[unit]}{unit}"


class _Text:
    """What is text in the file as well."""

    def from_toml(self: Kind, value: object) -> object:
        """As `Kind`."""
        if not isinstance(value, str):
            raise refused(self, value)
        return self.from_text(value)

    def shown(self, value: object) -> str:
        """As `Kind`."""
        return str(value)


@dataclass(slots=True, frozen=True)
class Choice(_Text):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def must_be(self) -> str:
        """As `Kind`."""
        return "one of: " + ", ".join(self.words)

    @property
    def metavar(self) -> str:
        """As `Kind`."""
        return f"[{'|'.join(self.words)}]"

    def from_text(self, text: str) -> str:
        """As `Kind`."""
        if text not in self.words:
            raise refused(self, text)
        return text


@dataclass(slots=True, frozen=True)
class File(_Text):
    """The path of a file or directory. In the configuration file it is absolute, or begins with `~/`."""

    must_be: str = "an absolute path, or one that begins with ~/"
    metavar: str = "PATH"

    def from_text(self, text: str) -> Path:
        """As `Kind`: from the current directory. A shell leaves `~/` as it is in `--store=~/DIR`."""
        if not text or "\0" in text:
            raise UsageError("an empty path names nothing")
        return Path(os.path.abspath(os.path.expanduser(text)))

    def from_toml(self, value: object) -> Path:
        """As `Kind`."""
        if not isinstance(value, str) or not value.startswith(("/", "~/")) or "\0" in value:
            raise refused(self, value)
        return Path(os.path.abspath(os.path.expanduser(value)))


@dataclass(slots=True, frozen=True)
class SecretFile(File):
    """The path of a file that holds a secret. What is no path may be the secret itself: it is not repeated."""

    def from_text(self, text: str) -> Path:
        """As `Kind`."""
        refuse_a_secret(text)
        return File.from_text(self, text)

    def from_toml(self, value: object) -> Path:
        """As `Kind`."""
        if isinstance(value, str):
            refuse_a_secret(value)
        try:
            return File.from_toml(self, value)
        except UsageError:
            raise UsageError(f"what stands there is not {self.must_be}") from None


def refuse_a_secret(text: str) -> None:
    """Raises UsageError for what is not the path of a file that holds a secret, but one."""
    if _CREDENTIALS.match(text) or looks_secret(text.encode("utf-8", "surrogateescape")):
        raise UsageError(
            "that is a secret, where the path of a file must be that holds it",
            hint="Write it to a file that only you can read (mode 0600), and name that file.",
        )


@dataclass(slots=True, frozen=True)
class Parsed(_Text):
    """Text that a function accepts or refuses, such as an address; it is kept as it was written."""

    must_be: str
    metavar: str
    parse: Callable[[str], object]

    def from_text(self, text: str) -> str:
        """As `Kind`."""
        self.parse(text)
        return text


@dataclass(slots=True, frozen=True)
class Several:
    """Any number of values of a kind, in their order. In the environment there are blanks between them."""

    one: Kind

    @property
    def must_be(self) -> str:
        """As `Kind`."""
        return f"a list, each of which is {self.one.must_be}"

    @property
    def metavar(self) -> str:
        """As `Kind`."""
        return self.one.metavar

    def from_text(self, text: str) -> tuple[object, ...]:
        """As `Kind`."""
        return tuple(self.one.from_text(word) for word in text.split())

    def from_toml(self, value: object) -> tuple[object, ...]:
        """As `Kind`; a single value is a list of one."""
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            raise refused(self, value)
        return tuple(self.one.from_toml(one) for one in value)

    def shown(self, value: object) -> str:
        """As `Kind`."""
        return " ".join(map(self.one.shown, value)) if isinstance(value, tuple) else ""


class _Peers(Parsed):
    """Who shares with this machine. The workers that read a file of them have none of the user's environment."""

    def from_text(self, text: str) -> str:
        """As `Kind`."""
        return Parsed.from_text(self, os.path.expanduser(text) if text.startswith("~/") else text)


URL: Final = Parsed("the address of an origin", "URL", address.parse)
LISTENING: Final = Parsed("a Unix socket or a loopback port", "ADDRESS", listening.parse)
NO_HUB: Final = "none"
"""Stands for the address of a Hub where none is to be asked."""


def _parse_hub(text: str) -> object:
    return text if text == NO_HUB else address.parse(text)


HUB: Final = Parsed(f"the address of a Hub, or {NO_HUB}", "URL", _parse_hub)
HOST_PORT: Final = Parsed("a host and a port, such as 10.0.0.1:4780", "HOST:PORT", peer_list.host_port)
PEERS: Final = _Peers("a list of machines, dns:NAME:PORT or a file", "PEERS", peer_list.parse)


def _parse_upstream(text: str) -> object:
    found = _UPSTREAM.fullmatch(text)
    try:
        if found is not None and found["cid"] is not None:
            cid.from_text(found["cid"])
    except FormatError:
        found = None
    if found is None:
        raise UsageError(f"{text[:_SHOWN]!r} is neither a CID nor an IPNS name", hint="Write CID or /ipns/NAME.")
    return text


UPSTREAM: Final = Parsed("a CID or an IPNS name", "CID|/ipns/NAME", _parse_upstream)


def team_name(text: str) -> object:
    """The name of a group, or its number. Raises UsageError; whether there is such a group is found when it is used."""
    if not _GROUP.fullmatch(text):
        raise UsageError(f"{text[:_SHOWN]!r} is no name of a group")
    return text
