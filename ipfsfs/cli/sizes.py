"""Sizes in bytes as people write them on a command line."""

from __future__ import annotations

import re
from typing import Final

import click

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?")
_DIGITS_MOST: Final = 18
_POWER: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class Size(click.ParamType[int]):
    """Bytes: `500MB`, `16G`, `1.5TiB`. Units are decimal, as in all that is shown, unless they have an i."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        try:
            return parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is no size: write for example 500MB or 16G.", param, ctx)


def parse(text: str) -> int:
    """The number of bytes that a text stands for. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or (match[3] and not match[2]) or len(match[1]) > _DIGITS_MOST:
        raise ValueError
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWER[match[2]])


SIZE: Final = Size()
