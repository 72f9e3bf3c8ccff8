"""Replies that flags are added to."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from ipfsfs.fuse.replies import CACHE_DIR, KEEP_CACHE, Replies

REFUSED = struct.pack("=IiQ", 16, -13, 7)


def opened(flags: int) -> bytes:
    return struct.pack("=IiQQII", 32, 0, 7, 5, flags, 0)


@pytest.fixture
def replies() -> Iterator[Replies]:
    made = Replies()
    yield made
    made.close()


def test_only_a_reply_that_opens_gets_the_flags(replies: Replies) -> None:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.dup(device.fileno())
    replies.begin(descriptor, device.detach())
    with kernel:
        for sent, seen in ((opened(0), opened(CACHE_DIR | KEEP_CACHE)), (REFUSED, REFUSED)):
            replies.add(CACHE_DIR | KEEP_CACHE)
            os.write(descriptor, sent)
            replies.send()
            assert kernel.recv(100) == seen
        os.write(descriptor, opened(0))
        replies.send()
        assert kernel.recv(100) == opened(0), "others go straight to the kernel"
    os.close(descriptor)


def test_a_connection_that_is_gone_ends_nothing(replies: Replies) -> None:
    descriptor = os.open("/dev/full", os.O_RDWR)
    replies.begin(descriptor, os.dup(descriptor))
    for sent in (True, False):
        replies.add(CACHE_DIR)
        if sent:
            os.write(descriptor, opened(0))
        replies.send()
        assert os.path.samestat(os.fstat(descriptor), os.stat("/dev/full"))
    os.close(descriptor)


class Later:
    """A request that is answered later."""

    unique = 0

    def begin(self, unique: int) -> None:
        self.unique = unique

    def drop(self) -> None:
        raise AssertionError


def test_a_reply_that_is_withheld_tells_its_number_and_never_reaches_the_kernel(replies: Replies) -> None:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.dup(device.fileno())
    replies.begin(descriptor, device.detach())
    with kernel:
        for unique in range(1, 2000):
            later = Later()
            replies.withhold(later)
            os.write(descriptor, struct.pack("=IiQ", 16, 0, unique))
            assert replies.send()
            assert later.unique == unique
            if unique % 100 == 0:
                os.write(descriptor, opened(0))
                assert not replies.send()
                assert kernel.recv(100) == opened(0), "the next reply goes straight to the kernel"
    os.close(descriptor)


def test_a_request_that_was_taken_already_is_read_next_and_what_is_said_to_it_at_once_is_sent_on(
    replies: Replies,
) -> None:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.dup(device.fileno())
    replies.begin(descriptor, device.detach())
    request = os.urandom((1 << 20) + 80)
    with kernel:
        for said in ([], [opened(0)], [REFUSED, opened(KEEP_CACHE)]):
            replies.inject(request)
            assert os.read(descriptor, 2 << 20) == request
            for reply in said:
                os.write(descriptor, reply)
            replies.send()
            assert [kernel.recv(100) for _ in said] == said
            os.write(descriptor, opened(0))
            assert kernel.recv(100) == opened(0), "what is said later goes straight to the kernel"
    os.close(descriptor)


def test_flags_are_added_to_the_reply_to_such_a_request(replies: Replies) -> None:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.dup(device.fileno())
    replies.begin(descriptor, device.detach())
    with kernel:
        replies.inject(b"a request")
        assert os.read(descriptor, 100) == b"a request"
        replies.add(CACHE_DIR)
        os.write(descriptor, opened(0))
        replies.send()
        assert kernel.recv(100) == opened(CACHE_DIR)
    os.close(descriptor)
