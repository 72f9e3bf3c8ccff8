"""The control socket: what commands ask a running daemon, one JSON object a line each way.

A question is `{"command": NAME, ...}`, with the fields of that question beside its name (`ipfsfs.daemon.questions`).
Answers are any number of `{"progress": {...}}` and, every five seconds, `{"alive": true}`, then `{"result": {...}}` or
`{"error": CLASS, "message": TEXT, "hint": TEXT}`. The socket lies in the store, which is open to its user only; who
speaks is checked all the same, and so is what is said.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from contextlib import suppress
from typing import Any, Final

import trio

from ipfsfs.daemon.codec import Dataclass, decode, encode
from ipfsfs.daemon.failure import Failure
from ipfsfs.daemon.lifecycle import Running
from ipfsfs.daemon.questions import umount
from ipfsfs.daemon.questions.question import Asked
from ipfsfs.daemon.questions.registry import QUESTIONS
from ipfsfs.errors import FormatError, IpfsfsError, UsageError

log = logging.getLogger(__name__)

_OTHER_VERSION: Final = "The daemon is of another version of ipfsfs: unmount the view, and mount it again."
_LINE_MOST: Final = 65_536
_TALKERS: Final = 32
_BACKLOG: Final = 128
_AGAIN_S: Final = 1.0
_PATIENCE_S: Final = 3.0
_ALIVE_S: Final = 5.0
"""How often a command that waits for its answer is told that the daemon is at it."""
_ALIVE: Final = b'{"alive": true}\n'
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
                    question = _parse(await _read_line(stream))
                # What unmounts also ends all this; its answer has to get through.
                with trio.CancelScope(shield=isinstance(question, umount.Question)):
                    await _answer(running, question, stream)
            except UsageError as error:
                await stream.send_all(_line(Failure.of(error)))
            except trio.TooSlowError:
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # they hung up
    except Exception:  # a bug in a conversation must not end the view
        log.exception("a bug in the conversation with a command")
    finally:
        talkers.release()


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some(_LINE_MOST)
        data += more
        if not more or len(data) > _LINE_MOST:
            raise UsageError("no question: expected one line of JSON")
    return data


def _parse(line: bytes) -> Asked[Any, Any]:
    """The question that a line asks. Raises UsageError."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"no question: {error}") from error
    command = said.pop("command", None) if isinstance(said, dict) else None
    if not isinstance(command, str):
        raise UsageError("no question: expected an object with a command")
    kind = QUESTIONS.get(command)
    if kind is None:
        raise UsageError(f"no such command: {command[:40]!r}", hint=_OTHER_VERSION)
    try:
        return decode(kind, said)
    except FormatError as error:
        raise UsageError(f"no question for {command!r}: {error}") from error


async def _answer(running: Running, question: Asked[Any, Any], stream: trio.SocketStream) -> None:
    sender, receiver = trio.open_memory_channel[bytes](1)

    def report(progress: Dataclass) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            sender.send_nowait(_line({"progress": progress}))

    async def say_alive() -> None:
        # Who asked waits for as long as there is a sign of life: a disk may stall, a question may need hours.
        while True:
            await trio.sleep(_ALIVE_S)
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                sender.send_nowait(_ALIVE)

    async def pass_on() -> None:
        with suppress(trio.BrokenResourceError):  # they hung up, which the other task sees as well
            async for line in receiver:
                await stream.send_all(line)

    async def until_hung_up() -> None:
        # Who asked may go away before the answer is there: then nobody waits for it any more.
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some(_LINE_MOST):
                pass
        nursery.cancel_scope.cancel()

    line = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on)
        nursery.start_soon(until_hung_up)
        nursery.start_soon(say_alive)
        try:
            found = await question.answer(running, report)
            line = await trio.to_thread.run_sync(_line, {"result": found})
        except IpfsfsError as error:
            line = _line(Failure.of(error))
        except Exception:  # a bug in a question must not end the view
            log.exception("a bug in answering %r", question.command)
            line = _line(Failure(IpfsfsError.__name__, "the daemon met a bug; see its log"))
        nursery.cancel_scope.cancel()
    if line:
        await stream.send_all(line)


def _line(said: dict[str, Dataclass] | Failure) -> bytes:
    """As one line of JSON. An answer may be long: in a thread, so that requests are answered meanwhile."""
    facts = encode(said) if isinstance(said, Failure) else {name: encode(value) for name, value in said.items()}
    return json.dumps(facts).encode() + b"\n"
