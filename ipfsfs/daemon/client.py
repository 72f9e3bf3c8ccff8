"""Asking a running daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ipfsfs.daemon.codec import decode, encode
from ipfsfs.daemon.connection import Connection
from ipfsfs.daemon.failure import Failure
from ipfsfs.daemon.mounts import user_in_words
from ipfsfs.daemon.questions.question import AnswerT, Asked, ProgressT
from ipfsfs.errors import FormatError, IpfsfsError, NoAnswer

_PATIENCE_S: Final = 60.0
"""How long a daemon may say nothing at all: one that works says so every five seconds."""


def ask(
    store: Path,
    question: Asked[AnswerT, ProgressT],
    on_progress: Callable[[ProgressT], None] = lambda _: None,
    *,
    patience_s: float = _PATIENCE_S,
    in_all_s: float | None = None,
    owner: int | None = None,
) -> AnswerT:
    """Put a question to the daemon of a store and return its answer.

    `patience_s` limits the wait for each line of it, `in_all_s` that for the answer. The daemon has to be that of
    `owner` (default: our own); root alone is answered by others. An answer of another user's daemon is of the right
    form, and may say anything; its progress is not passed on.

    Raises NoAnswer where no daemon answers, and the error that the daemon itself answers with.
    """
    connection = Connection.open(store, os.geteuid() if owner is None else owner)
    try:
        connection.send(json.dumps({"command": question.command, **encode(question)}).encode(), patience_s)
        answer = _read_answer(connection, question, on_progress, patience_s, in_all_s)
    except TimeoutError as error:
        raise NoAnswer("the daemon does not answer") from error
    except (OSError, ValueError) as error:
        raise NoAnswer(f"no daemon answers for the store {store}: {error}") from error
    except FormatError as error:
        raise NoAnswer(
            f"the daemon's answer cannot be understood: {error}",
            hint="Its daemon may be of another version of ipfsfs: unmount the view, and mount it again.",
        ) from error
    finally:
        connection.close()
    if isinstance(answer, IpfsfsError):
        raise answer
    return answer


def _read_answer(
    connection: Connection,
    question: Asked[AnswerT, ProgressT],
    on_progress: Callable[[ProgressT], None],
    patience_s: float,
    in_all_s: float | None,
) -> AnswerT | IpfsfsError:
    """Raises FormatError for what is no answer to this question, and NoAnswer where none comes."""
    answer_type, progress_type = question.replies()
    for line in connection.lines(patience_s, in_all_s):
        said = _parse(line)
        if "result" in said:
            return decode(answer_type, said["result"])
        if "progress" in said:
            if connection.is_ours:
                on_progress(decode(progress_type, said["progress"]))
        elif "alive" not in said:
            return _error(decode(Failure, said), connection)
    raise NoAnswer("the daemon ended before it had answered")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except RecursionError as error:
        raise FormatError("it is nested too deeply") from error
    if not isinstance(said, dict):
        raise FormatError("expected an object")
    return said


def _error(failure: Failure, connection: Connection) -> IpfsfsError:
    """The error that a daemon names; another user's in that user's words, in one line, and without advice."""
    error = failure.as_error()
    if connection.is_ours:
        return error
    return type(error)(f"the daemon of {user_in_words(connection.owner)} says: {str(error)!r}")
