"""Asking a running daemon."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ipfsfs.errors import IpfsfsError, MountError, StoreError, UsageError

_CONNECT_S: Final = 10.0


def ask(
    store: Path,
    question: dict[str, Any],
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    *,
    patience_s: float | None = None,
) -> dict[str, Any]:
    """Put a question to the daemon of a store and return its result; `patience_s` limits the wait for each line.

    Raises MountError where no daemon answers, and what the daemon itself answers with.
    """
    try:
        directory = os.open(store, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise MountError(f"cannot open the store {store}: {error.strerror}") from error
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_CONNECT_S)
            sock.connect(f"/proc/self/fd/{directory}/control.sock")
            sock.settimeout(patience_s)
            sock.sendall(json.dumps(question).encode() + b"\n")
            with sock.makefile("rb") as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "progress" in answer:
                        on_progress(answer["progress"])
                    elif "result" in answer:
                        result: dict[str, Any] = answer["result"]
                        return result
                    else:
                        raise _error(answer)
    except TimeoutError as error:
        raise MountError("the daemon does not answer") from error
    except (OSError, ValueError) as error:
        raise MountError(f"no daemon answers for the store {store}: {error}") from error
    finally:
        os.close(directory)
    raise MountError("the daemon ended before it had answered")


def _error(answer: dict[str, Any]) -> IpfsfsError:
    kind = UsageError if answer.get("exit_code") == UsageError.exit_code else StoreError
    return kind(str(answer.get("error", "no answer")), hint=str(answer.get("hint", "")))
