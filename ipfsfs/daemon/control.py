"""The control socket: what commands ask a running daemon, one JSON object a line each way.

A question is `{"command": NAME, ...}`. Answers are any number of `{"progress": {...}}`, then `{"result": {...}}` or
`{"error": TEXT, "hint": TEXT, "exit_code": N}`. The socket lies in the store, which is open to its user only; who
speaks is checked all the same, and so is what is said.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import trio

from ipfsfs.daemon.lifecycle import Running
from ipfsfs.daemon.questions import QUESTIONS, Report
from ipfsfs.errors import IpfsfsError, UsageError

log = logging.getLogger(__name__)

_LINE_MOST: Final = 65_536
_TALKERS: Final = 32
_PATIENCE_S: Final = 10.0
_PEER: Final = struct.Struct("=iII")


async def listen(running: Running) -> None:
    """Answer commands until cancelled."""
    # By way of the descriptor: a socket's path may have 107 bytes, the store's may have more.
    address = f"/proc/self/fd/{running.store.fd}/control.sock"
    with suppress(FileNotFoundError):
        os.unlink("control.sock", dir_fd=running.store.fd)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        await listening.bind(address)
    finally:
        os.umask(previous)
    listening.listen(16)
    limiter = trio.CapacityLimiter(_TALKERS)
    async with trio.open_nursery() as nursery:
        while True:
            talker, _ = await listening.accept()
            nursery.start_soon(_talk, running, talker, limiter)


async def _talk(running: Running, talker: trio.socket.SocketType, limiter: trio.CapacityLimiter) -> None:
    """One conversation: a question, and its answers. Whatever is said, it ends without harm to the daemon."""
    async with limiter, trio.SocketStream(talker) as stream:
        try:
            _, uid, _ = _PEER.unpack(talker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid not in (0, os.geteuid()):
                return
            with trio.fail_after(_PATIENCE_S):
                question = await _read_line(stream)
            await _answer(running, question, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return
        except UsageError as error:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _send(stream, _as_answer(error))


async def _read_line(stream: trio.SocketStream) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(_LINE_MOST)
        data += more
        if not more or len(data) > _LINE_MOST:
            raise UsageError("no question: expected one line of JSON")
    try:
        question = json.loads(data)
    except ValueError as error:
        raise UsageError(f"no question: {error}") from error
    if not isinstance(question, dict) or not isinstance(question.get("command"), str):
        raise UsageError("no question: expected an object with a command")
    return question


async def _answer(running: Running, question: dict[str, Any], stream: trio.SocketStream) -> None:
    ask: Callable[[Running, dict[str, Any], Report], Awaitable[dict[str, Any]]] | None
    ask = QUESTIONS.get(question["command"])
    if ask is None:
        raise UsageError(f"no such command: {question['command'][:40]!r}")
    sender, receiver = trio.open_memory_channel[dict[str, Any]](1)

    def report(progress: dict[str, Any]) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            sender.send_nowait({"progress": progress})

    async def pass_on() -> None:
        async for progress in receiver:
            await _send(stream, progress)

    async def until_hung_up() -> None:
        # Who asked may go away before the answer is there: then nobody waits for it any more.
        await stream.receive_some(1)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on)
        nursery.start_soon(until_hung_up)
        try:
            answer: dict[str, Any] = {"result": await ask(running, question, report)}
        except IpfsfsError as error:
            answer = _as_answer(error)
        except Exception:  # a bug in a question must not end the view
            log.exception("a bug in answering %r", question["command"])
            answer = {"error": "the daemon met a bug; see its log", "hint": "", "exit_code": 1}
        nursery.cancel_scope.cancel()
    await _send(stream, answer)


def _as_answer(error: IpfsfsError) -> dict[str, Any]:
    return {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(answer).encode() + b"\n")
