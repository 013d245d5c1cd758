from __future__ import annotations

import array
import mmap
import os
import socket
import tempfile
import threading
from typing import Iterator, Tuple

import pytest
import sluice_frames as frames
from sluice_frames import Channel, Frame

Ends = Tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    shared = mmap.mmap(-1, frames.OUTBOX + frames.OUTBOX_SIZE)
    with ours, theirs:
        yield Channel(ours, shared), theirs


def wire(kind: int, rid: int, meta: bytes = b"", body: bytes = b"", flags: int = 0) -> bytes:
    return frames.HEADER.pack(kind, flags, 0, 3, len(meta), rid, 0, len(body)) + meta + body


def read(theirs: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += theirs.recv(count - len(data))
    return data


def test_frames_come_out_as_they_went_in(ends: Ends) -> None:
    channel, theirs = ends
    data = wire(frames.LOAD, 0, b"{}") + wire(frames.REQUEST, 7, b"q", "é".encode())
    incoming = channel.frames()
    theirs.sendall(data[:40])
    assert next(incoming)[:5] == (frames.LOAD, 0, 3, 0, b"{}")
    theirs.sendall(data[40:])
    request = next(incoming)
    assert (request.id, request.meta, channel.body_text(request)) == (7, b"q", "é")
    theirs.close()
    assert next(incoming, None) is None


def test_frame_larger_than_the_buffer(ends: Ends) -> None:
    channel, theirs = ends
    meta = os.urandom(300 << 10)
    data = wire(frames.REQUEST, 1, meta) + wire(frames.REQUEST, 2)
    sender = threading.Thread(target=theirs.sendall, args=(data,))
    sender.start()
    incoming = channel.frames()
    assert next(incoming).meta == meta
    assert next(incoming).id == 2
    sender.join()


@pytest.mark.parametrize("field", ["meta", "body"])
def test_oversized_frame_is_refused(ends: Ends, field: str) -> None:
    channel, theirs = ends
    meta_len = frames.MAX_META + 1 if field == "meta" else 0
    length = frames.MAX_INLINE if field == "body" else 0
    theirs.sendall(frames.HEADER.pack(frames.REQUEST, 0, 0, 0, meta_len, 1, 0, length))
    with pytest.raises(frames.ProtocolError):
        next(channel.frames())


def test_body_by_descriptor(ends: Ends) -> None:
    channel, theirs = ends
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 70000 + b"beyond the body")
        file.flush()
        head = frames.HEADER.pack(frames.REQUEST, frames.FLAG_DESCRIPTOR, 0, 0, 0, 5, 0, 70000)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))]
        theirs.sendmsg([head], rights)
        theirs.sendmsg([head], rights)
    incoming = channel.frames()
    assert channel.body_text(next(incoming)) == "x" * 70000
    open_before = len(channel.descriptors)
    channel.drop_body(next(incoming))
    assert (open_before, len(channel.descriptors)) in {(0, 0), (1, 0)}


def test_answers_wait_in_the_outbox_until_flushed(ends: Ends) -> None:
    channel, theirs = ends
    frame = Frame(frames.REQUEST, 0, 3, 9, b"", memoryview(b""), 0)
    channel.answer(frame, frames.OK, 42, b"{}")
    used = channel.words[frames.WORD_LENGTH]
    head = frames.HEADER.unpack_from(channel.outbox, 0)
    assert used == frames.HEADER_SIZE + 2
    assert head == (frames.RESPONSE, 0, frames.OK, 3, 0, 9, 42, 2)
    generation = channel.words[frames.WORD_GENERATION]
    channel.flush()
    assert channel.words[frames.WORD_GENERATION] == generation + 1
    assert channel.words[frames.WORD_LENGTH] == 0
    assert read(theirs, used).endswith(b"{}")


def test_outbox_is_sent_when_it_is_full(ends: Ends) -> None:
    channel, theirs = ends
    body = b"y" * (frames.MAX_INLINE - 1)
    size = frames.HEADER_SIZE + len(body)
    fit = frames.OUTBOX_SIZE // size
    received = []
    reader = threading.Thread(target=lambda: received.append(read(theirs, fit * size)))
    reader.start()
    for number in range(fit + 1):
        frame = Frame(frames.REQUEST, 0, 0, number + 1, b"", memoryview(b""), 0)
        channel.answer(frame, frames.OK, 0, body)
        channel.oldest = 1 << 62  # no answer gets old in this test
    reader.join()
    assert len(received) == 1
    assert channel.used == size


def test_large_answer_goes_by_descriptor(ends: Ends) -> None:
    channel, theirs = ends
    frame = Frame(frames.REQUEST, 0, 0, 9, b"", memoryview(b""), 0)
    body = os.urandom(frames.MAX_INLINE)
    channel.answer(frame, frames.OK, 0, b"first")
    channel.answer(frame, frames.OK, 0, body)
    assert read(theirs, 32 + 5).endswith(b"first")
    head, ancillary, _, _ = theirs.recvmsg(32, socket.CMSG_SPACE(4))
    assert frames.HEADER.unpack(head)[1] == frames.FLAG_DESCRIPTOR
    descriptor = array.array("i", ancillary[0][2])[0]
    with open(descriptor, "rb") as file:
        file.seek(0)
        assert file.read() == body
