"""The worker's end of the wire. Package frame of the server describes the frames.

A Channel belongs to the thread that made it; nothing here may be called from
another one.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
from collections import deque
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import Any, Deque, Iterator, List, NamedTuple, Tuple

VERSION = 2
HEADER = struct.Struct("<BBBBIQqQ")
HEADER_SIZE = HEADER.size
MAX_INLINE = 64 << 10
MAX_META = 2 << 20

HELLO, LOAD, PHASE, READY, FAILED, REQUEST, RESPONSE, SWAGGER, CHUNK = range(1, 10)
FLAG_GET, FLAG_DESCRIPTOR, FLAG_JSON, FLAG_WHOLE, FLAG_HEAD, FLAG_STREAM = 1, 2, 4, 8, 16, 32
OK, CANCELED, RAISED, BAD_INPUT, INTERNAL, TIMED_OUT, EXITED, NOT_JSON = range(8)

# The shared page, in words of 8 bytes; the server reads it at any moment, also
# after this process is dead. The order of writes below matters to it.
WORD_START, WORD_RUNNING, WORD_ABORT, WORD_GENERATION, WORD_LENGTH = range(5)
CANCEL_BYTES = 64  # offset of one byte for each slot
OUTBOX = 4096  # offset of the answers that are not sent yet
OUTBOX_SIZE = 256 << 10

FLUSH_NS = 500_000  # an answer waits no longer for company


class ProtocolError(Exception):
    """The other side does not speak this protocol."""


class Frame(NamedTuple):
    type: int
    flags: int
    slot: int
    id: int
    meta: bytes
    body: memoryview
    length: int


class Refused(NamedTuple):
    """What run() may return to have a request refused in its own words."""

    status: int
    body: bytes


class Channel:
    """Frames over a socket, with answers kept in shared memory until sent.

    The outbox is a journal: should this process die, the server finds there
    every answer that was finished but not sent.
    """

    def __init__(self, sock: socket.socket, shared: mmap.mmap) -> None:
        self.sock = sock
        page = memoryview(shared)
        self.words = page[:CANCEL_BYTES].cast("Q")
        self.cancel = page[CANCEL_BYTES : CANCEL_BYTES + 32]
        self.outbox = page[OUTBOX : OUTBOX + OUTBOX_SIZE]
        self.used = 0
        self.oldest = 0
        self.buffer = bytearray(256 << 10)
        self.descriptors: Deque[int] = deque()

    def frames(self) -> Iterator[Frame]:
        """Every frame that arrives, until the server closes its side."""
        start = end = 0
        unpack = HEADER.unpack_from
        while True:
            view = memoryview(self.buffer)
            need = HEADER_SIZE
            while end - start >= HEADER_SIZE:
                kind, flags, _, slot, meta_len, rid, _, length = unpack(view, start)
                inline = 0 if flags & FLAG_DESCRIPTOR else length
                if meta_len > MAX_META or inline >= MAX_INLINE:
                    raise ProtocolError("a frame is larger than frames may be")
                need = HEADER_SIZE + meta_len + inline
                if end - start < need:
                    break
                at = start + HEADER_SIZE + meta_len
                meta = bytes(view[start + HEADER_SIZE : at]) if meta_len else b""
                yield Frame(kind, flags, slot, rid, meta, view[at : at + inline], length)
                start += need
                need = HEADER_SIZE
            self.flush()
            # Nothing refers to the bytes before start any more.
            rest = end - start
            if need > len(self.buffer):
                grown = bytearray(need)
                grown[:rest] = view[start:end]
                self.buffer = grown
            elif start:
                self.buffer[:rest] = self.buffer[start:end]
            start, end = 0, rest
            received = self._receive(end)
            if not received:
                return
            end += received

    def _receive(self, at: int) -> int:
        space = socket.CMSG_SPACE(64 * 4)
        view = memoryview(self.buffer)[at:]
        count, ancillary, _, _ = self.sock.recvmsg_into([view], space)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self.descriptors.extend(received)
        return count

    def body_text(self, frame: Frame) -> str:
        """The body of a frame as text. Raises UnicodeDecodeError."""
        if not frame.flags & FLAG_DESCRIPTOR:
            return str(frame.body, "utf-8")
        descriptor = self.descriptors.popleft()
        try:
            with mmap.mmap(descriptor, frame.length, access=mmap.ACCESS_READ) as mapped:
                return str(mapped, "utf-8")
        finally:
            os.close(descriptor)

    def body_bytes(self, frame: Frame) -> bytes:
        """The body of a frame as it was sent."""
        if not frame.flags & FLAG_DESCRIPTOR:
            return bytes(frame.body)
        descriptor = self.descriptors.popleft()
        try:
            with mmap.mmap(descriptor, frame.length, access=mmap.ACCESS_READ) as mapped:
                return mapped[:]
        finally:
            os.close(descriptor)

    def drop_body(self, frame: Frame) -> None:
        """Must be called for a frame whose body is not read."""
        if frame.flags & FLAG_DESCRIPTOR:
            os.close(self.descriptors.popleft())

    def answer(
        self, frame: Frame, outcome: int, ran_ns: int, body: bytes, head: bytes = b""
    ) -> None:
        """Answer a request; the answer may wait a moment for others. A head is
        the status and the headers; without one the server makes them."""
        size = HEADER_SIZE + len(head) + len(body)
        if len(body) >= MAX_INLINE or size > OUTBOX_SIZE:
            self.flush()
            self._send(frame, RESPONSE, outcome, ran_ns, body, head)
            return
        if self.used + size > OUTBOX_SIZE:
            self.flush()
        used = self.used
        flags = FLAG_HEAD if head else 0
        HEADER.pack_into(
            self.outbox, used, RESPONSE, flags, outcome, frame.slot, len(head), frame.id, ran_ns,
            len(body),
        )  # fmt: skip
        at = used + HEADER_SIZE
        if head:
            self.outbox[at : at + len(head)] = head
            at += len(head)
        self.outbox[at : used + size] = body
        self.used = used + size
        self.words[WORD_LENGTH] = self.used
        now = clock_gettime_ns(CLOCK_MONOTONIC)
        if not used:
            self.oldest = now
        elif now - self.oldest > FLUSH_NS:
            self.flush()

    def begin_stream(self, frame: Frame, ran_ns: int, head: bytes) -> None:
        """Answer a request with a head; the body follows with chunk."""
        self.flush()
        flags = FLAG_HEAD | FLAG_STREAM
        header = HEADER.pack(RESPONSE, flags, OK, frame.slot, len(head), frame.id, ran_ns, 0)
        self.sock.sendall(header + head)

    def chunk(self, frame: Frame, data: bytes) -> None:
        """Send a piece of a body, which is not empty."""
        for at in range(0, len(data), MAX_INLINE - 1):
            part = data[at : at + MAX_INLINE - 1]
            header = HEADER.pack(CHUNK, 0, OK, frame.slot, 0, frame.id, 0, len(part))
            self.sock.sendall(header + part)

    def end_stream(self, frame: Frame, outcome: int, why: bytes = b"") -> None:
        """End a body: whole if the outcome is OK, else with the cause."""
        self.sock.sendall(
            HEADER.pack(CHUNK, 0, outcome, frame.slot, len(why), frame.id, 0, 0) + why
        )

    def flush(self) -> None:
        """Send every answer that waits."""
        if not self.used:
            return
        self.sock.sendall(self.outbox[: self.used])
        # The generation tells the server, which may be reading, that the bytes
        # of the outbox are about to be written over.
        self.words[WORD_GENERATION] += 1
        self.words[WORD_LENGTH] = 0
        self.used = 0

    def _send(
        self, frame: Frame, kind: int, outcome: int, ran_ns: int, body: bytes, head: bytes
    ) -> None:
        """Send a frame at once; a large body goes by descriptor."""
        large = len(body) >= MAX_INLINE
        flags = (FLAG_DESCRIPTOR if large else 0) | (FLAG_HEAD if head and kind == RESPONSE else 0)
        data = HEADER.pack(
            kind, flags, outcome, frame.slot, len(head), frame.id, ran_ns, len(body)
        ) + head  # fmt: skip
        if not large:
            self.sock.sendall(data + body)
            return
        descriptor = _file_of(body)
        try:
            rights: List[Tuple[int, int, Any]] = [
                (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
            ]
            sent = self.sock.sendmsg([data], rights)
            self.sock.sendall(data[sent:])
        finally:
            os.close(descriptor)

    def document(self, meta: bytes, body: bytes) -> None:
        """Send a document that the server answers with itself."""
        self._send(Frame(SWAGGER, 0, 0, 0, b"", memoryview(b""), 0), SWAGGER, OK, 0, body, meta)

    def tell(self, kind: int, meta: bytes) -> None:
        """Send a frame that is no answer, at once."""
        self.sock.sendall(HEADER.pack(kind, 0, 0, 0, len(meta), 0, 0, 0) + meta)


def _file_of(body: bytes) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sluice-answer")
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="sluice-answer-")
        os.unlink(path)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
