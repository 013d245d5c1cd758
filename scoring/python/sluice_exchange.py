"""Requests of scripts that take more than text: fields, or the request itself,
and outputs that are responses."""

from __future__ import annotations

import inspect
from typing import Any, Callable, ContextManager, Dict, Optional

import sluice_frames as frames
import sluice_http as http
import sluice_inputs as inputs
from sluice_frames import Channel, Frame
from sluice_script import Script

Arguments = Dict[str, Any]


class Exchange:
    """The request that is being answered, for a script that sees HTTP."""

    def __init__(self, channel: Channel, script: Script) -> None:
        self.channel = channel
        self.script = script
        self.opener = http.opener()
        self.environ: Dict[str, Any] = {}
        self.request: Any = None
        self.context: Optional[ContextManager[Any]] = None

    def begin(self, frame: Frame, prepare: Callable[..., Arguments]) -> Arguments:
        """Open the request and give what run() is called with."""
        if not frame.flags & frames.FLAG_WHOLE:
            self.channel.drop_body(frame)
            raise frames.ProtocolError("the request is not whole")
        body = self.channel.body_bytes(frame)
        self.environ = http.environ_of(http.whole_of(frame.meta), body)
        request, context = self.opener.open(self.environ)
        context.__enter__()
        self.request, self.context = request, context
        plain = frame._replace(
            meta=inputs.without_whole(frame.meta),
            flags=frame.flags & ~frames.FLAG_DESCRIPTOR,
            body=memoryview(body),
        )
        return prepare(self if prepare is request_of else self.channel, plain, self.script)

    def end(self) -> None:
        """Close the request. It may have been closed, or never opened."""
        context, self.context, self.request = self.context, None, None
        if context is not None:
            context.__exit__(None, None, None)


def request_of(exchange: Any, frame: Frame, script: Script) -> Arguments:
    """The arguments of a run() that takes the request."""
    arguments: Arguments = {script.parameter: exchange.request}
    if script.wants_headers:
        arguments["request_headers"] = dict(exchange.request.headers)
    return arguments


def fields_of(channel: Channel, frame: Frame, script: Script) -> Arguments:
    """The arguments of a run() that takes fields. Raises InputError."""
    if frame.flags & frames.FLAG_GET:
        channel.drop_body(frame)
        fields = inputs.query_object(inputs.query_of(frame.meta))
    elif not frame.flags & frames.FLAG_JSON:
        channel.drop_body(frame)
        raise inputs.InputError("Expects Content-Type to be application/json", frames.NOT_JSON)
    else:
        fields = inputs.json_fields(channel.body_bytes(frame))
    arguments: Arguments = {}
    for parameter in script.inputs:
        value = fields.get(parameter.name, parameter.default)
        if value is inspect.Parameter.empty:
            raise inputs.InputError(
                f"A value is not provided for the {parameter.name!r} parameter."
            )
        arguments[parameter.name] = value
    if script.wants_headers:
        arguments["request_headers"] = inputs.headers_of(frame.meta)
    return arguments


def respond(
    channel: Channel, frame: Frame, ran: int, output: Any, seen: Optional[Exchange], failing: Any
) -> None:
    """Answer with an output that is not JSON: with the response that it is, or
    with a failure."""
    if not http.is_response(output):
        channel.answer(frame, frames.INTERNAL, ran, failing.internal(failing.error))
        return
    try:
        answer = http.prepare(output, seen.environ if seen is not None else _environ(frame))
        body = b"" if answer.streams else b"".join(answer.parts)
    except Exception as error:
        channel.answer(frame, frames.INTERNAL, ran, failing.internal(error))
        return
    finally:
        if seen is not None:
            seen.end()
    try:
        if answer.streams:
            _stream(channel, frame, ran, answer, failing)
        else:
            channel.answer(frame, frames.OK, ran, body, answer.meta)
    finally:
        output.close()


def _environ(frame: Frame) -> Dict[str, Any]:
    method = "GET" if frame.flags & frames.FLAG_GET else "POST"
    return http.environ_of(http.Whole(method, "/score", "HTTP/1.1", "", "", []), b"")


def _stream(channel: Channel, frame: Frame, ran: int, answer: http.Prepared, failing: Any) -> None:
    """Send each part as soon as it is there, for as long as somebody listens."""
    channel.begin_stream(frame, ran, answer.meta)
    try:
        for part in answer.parts:
            if channel.cancel[frame.slot]:
                channel.end_stream(frame, frames.CANCELED)
                return
            channel.chunk(frame, part)
    except BaseException as error:
        outcome, why = failing.raised(error)
        channel.end_stream(frame, outcome, why)
        if not isinstance(error, Exception):
            raise
        return
    channel.end_stream(frame, frames.OK)
