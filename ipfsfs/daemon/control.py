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
_BACKLOG: Final = 128
_AGAIN_S: Final = 1.0
_PATIENCE_S: Final = 3.0
_PEER: Final = struct.Struct("=iII")


async def listen(running: Running, *, task_status: trio.TaskStatus[None]) -> None:
    """Answer commands until cancelled; started once they can be put. Where they cannot, the view goes on without."""
    try:
        listening = await _bind(running.store.fd)
    except OSError as error:
        log.error("no command can reach this daemon: control.sock: %s", error.strerror)
        task_status.started()
        return
    task_status.started()
    talkers = trio.Semaphore(_TALKERS)
    async with trio.open_nursery() as nursery:
        while True:
            await talkers.acquire()
            try:
                talker, _ = await listening.accept()
            except OSError as error:  # out of descriptors, or they hung up already
                talkers.release()
                log.warning("a command could not be listened to: %s", error.strerror)
                await trio.sleep(_AGAIN_S)
            else:
                nursery.start_soon(_talk, running, talker, talkers)


async def _bind(store_fd: int) -> trio.socket.SocketType:
    with suppress(FileNotFoundError):
        os.unlink("control.sock", dir_fd=store_fd)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        # By way of the descriptor: a socket's path may have 107 bytes, the store's may have more.
        await listening.bind(f"/proc/self/fd/{store_fd}/control.sock")
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(previous)
    listening.listen(_BACKLOG)
    return listening


async def _talk(running: Running, talker: trio.socket.SocketType, talkers: trio.Semaphore) -> None:
    """One conversation: a question, and its answers. Whatever is said, it ends without harm to the daemon."""
    try:
        async with trio.SocketStream(talker) as stream:
            _, uid, _ = _PEER.unpack(talker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid not in (0, os.geteuid()):
                return
            try:
                with trio.fail_after(_PATIENCE_S):
                    question = await _read_line(stream)
                    # What unmounts also ends all this; its answer has to get through.
                with trio.CancelScope(shield=question["command"] == "umount"):
                    await _answer(running, question, stream)
            except UsageError as error:
                await _send(stream, _as_answer(error))
            except trio.TooSlowError:
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # they hung up
    except Exception:  # a bug in a conversation must not end the view
        log.exception("a bug in the conversation with a command")
    finally:
        talkers.release()


async def _read_line(stream: trio.SocketStream) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(_LINE_MOST)
        data += more
        if not more or len(data) > _LINE_MOST:
            raise UsageError("no question: expected one line of JSON")
    try:
        question = json.loads(data)
    except (ValueError, RecursionError) as error:
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
        with suppress(trio.BrokenResourceError):  # they hung up, which the other task sees as well
            async for progress in receiver:
                await _send(stream, progress)

    async def until_hung_up() -> None:
        # Who asked may go away before the answer is there: then nobody waits for it any more.
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some(_LINE_MOST):
                pass
        nursery.cancel_scope.cancel()

    answer: dict[str, Any] | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on)
        nursery.start_soon(until_hung_up)
        try:
            answer = {"result": await ask(running, question, report)}
        except IpfsfsError as error:
            answer = _as_answer(error)
        except Exception:  # a bug in a question must not end the view
            log.exception("a bug in answering %r", question["command"])
            answer = {"error": "the daemon met a bug; see its log", "hint": "", "exit_code": 1}
        nursery.cancel_scope.cancel()
    if answer is not None:
        await _send(stream, answer)


def _as_answer(error: IpfsfsError) -> dict[str, Any]:
    return {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(answer).encode() + b"\n")
