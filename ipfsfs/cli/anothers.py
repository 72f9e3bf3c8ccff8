"""Another user's view, as root sees it: what its daemon says is that user's word, and is shown as nothing else.

It can be anything, for any user can put up a mount that calls itself a view. So none of it becomes a fact, a path or
advice of ours; it is escaped, and cut where there is too much of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.question import AnswerT, Asked, ProgressT
from ipfsfs.printed import printable

_LINES_MOST: Final = 40
_LINE_MOST: Final = 200
_DEPTH_MOST: Final = 3


def ask_another(
    view: mounts.Mount, question: Asked[AnswerT, ProgressT], *, patience_s: float, in_all_s: float | None
) -> AnswerT:
    """What the daemon of another user's view says. Raises IpfsfsError."""
    return ask(view.store, question, patience_s=patience_s, in_all_s=in_all_s, owner=view.owner)


def in_their_words(said: dict[str, Any]) -> list[str]:
    """What a daemon said, as lines of `name: value`, printable and not too many."""
    lines: list[str] = []
    for number, line in enumerate(_lines(said, 0)):
        if number == _LINES_MOST:
            return [*lines, "..."]
        lines.append(printable(line if len(line) <= _LINE_MOST else line[: _LINE_MOST - 3] + "..."))
    return lines


def _lines(said: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    match said:
        case dict() if depth < _DEPTH_MOST:
            for name, value in said.items():
                if isinstance(value, dict | list):
                    yield f"{indent}{name}:"
                    yield from _lines(value, depth + 1)
                else:
                    yield f"{indent}{name}: {_word(value)}"
        case list() if depth < _DEPTH_MOST:
            for value in said:
                yield from _lines(value, depth)
        case _:
            yield f"{indent}{_word(said)}"


def _word(value: Any) -> str:
    return repr(value)[: _LINE_MOST + 1]
