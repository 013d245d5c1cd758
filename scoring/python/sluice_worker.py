"""A worker: loads one script and runs it, one request at a time.

    LOAD -> import -> init() -> READY -> requests ... until the server is gone

Everything runs on the main thread, because that is what scripts were promised
and because only it can be interrupted.
"""

from __future__ import annotations

import itertools
import json
import logging
import mmap
import os
import signal
import socket
import sys
from time import CLOCK_MONOTONIC, clock_gettime_ns
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, NamedTuple, NoReturn, Optional, Tuple

import sluice_check as check
import sluice_faults as faults
import sluice_frames as frames
import sluice_inputs as inputs
import sluice_logs as logs
import sluice_script as scripts
from sluice_frames import Channel, Frame
from sluice_warnings import VersionWarnings

SOCKET, SHARED, FAULTS = 3, 4, 5  # the descriptors a worker is born with
LOAD_FAILED = 3  # the exit code that the original server has for it
TREE_LINES = 200
MAX_TOLD = 32 << 10  # bytes of a cause


def main() -> None:
    os.set_inheritable(SOCKET, False)
    os.set_inheritable(SHARED, False)
    faults.install(FAULTS)
    logger = logs.configure()
    shared = mmap.mmap(SHARED, frames.OUTBOX + frames.OUTBOX_SIZE)
    channel = Channel(socket.socket(fileno=SOCKET), shared)
    incoming = channel.frames()
    load = next(incoming, None)
    if load is None:
        return
    order = json.loads(load.meta)
    if load.type != frames.LOAD or order["version"] != frames.VERSION:
        raise frames.ProtocolError(f"the server speaks version {order.get('version')}")
    python = ".".join(map(str, sys.version_info[:3]))
    channel.tell(frames.HELLO, _json({"version": frames.VERSION, "python": python}))
    settings = scripts.Settings(
        order["app_root"],
        order["source_dir"],
        order["entry_script"],
        order["model_dir"],
        order.get("mlflow", False),
    )
    versions = VersionWarnings()
    script = start(channel, settings, versions, order, logger)
    logger.info("Scoring timeout is set to %s", order["timeout_ms"])
    serve(channel, incoming, script, Reasons(settings, versions), logger)


def start(
    channel: Channel,
    settings: scripts.Settings,
    versions: VersionWarnings,
    order: Dict[str, Any],
    logger: logging.Logger,
) -> scripts.Script:
    """Import the script and call init(); does not return when that fails."""
    scripts.extend_path(settings)
    logs.hook_print()
    stage = "import"
    try:
        channel.tell(frames.PHASE, _json({"phase": stage}))
        if order["debug_port"]:
            from sluice_debug import attach

            attach(order["debug_port"])
        if order["logging"]:
            load_logging(order["logging"])
        if settings.mlflow:
            import sluice_mlflow

            script = sluice_mlflow.load(settings)
        else:
            refuse(channel, settings, logger)
            script = scripts.load(settings)
        stage = "init"
        channel.tell(frames.PHASE, _json({"phase": stage}))
        user_logger = logging.getLogger("azmlinfsrv.user_script")
        user_logger.info("Invoking user's init function")
        script.init()
        user_logger.info("Users's init has completed successfully")
        stage = "describe"
        if order["describe"]:
            describe(channel, settings, order["service"], script)
        return script
    except BaseException as error:
        if stage == "init":
            logger.error("User's init function failed")
        logger.error("Encountered Exception %s", traceback_of(error))
        if stage == "init":
            log_model_dir(settings.model_dir, logger)
        give_up(channel, why(error, stage, settings, versions))


def load_logging(path: str) -> None:
    try:
        logs.load(path)
    except Exception as error:
        hint = "correct the file, or take it away"
        raise scripts.ScriptError("BadValue", f"{path} cannot be used: {error}", hint) from error


def describe(
    channel: Channel,
    settings: scripts.Settings,
    service: Dict[str, str],
    script: scripts.Script,
) -> None:
    """Give the server what it answers with to who asks for a description."""
    import sluice_swagger as swagger

    for version, text in swagger.documents(settings, swagger.Service(**service), script.run):
        channel.document(version.encode(), text)


def why(
    error: BaseException, stage: str, settings: scripts.Settings, versions: VersionWarnings
) -> Dict[str, Any]:
    """The cause, or what little is left to say when a script broke what finds it."""
    try:
        import sluice_failures as failures

        return failures.cause_of(error, stage, settings, versions)
    except Exception:
        code = "InitRaised" if stage == "init" else "ImportFailed"
        return {"code": code, "message": f"{stage} ended with {type(error).__name__}"}


def refuse(channel: Channel, settings: scripts.Settings, logger: logging.Logger) -> None:
    """Say what is wrong with the script before the import of large packages
    begins, in the words of the command line. Does not return when something is."""
    cause = check.before_import(settings.app_root, settings.source_dir, settings.entry_script)
    if cause is not None:
        said = cause.get("evidence") or [cause["message"]]
        logger.error("The script cannot be served: %s", "\n".join(said))
        give_up(channel, cause)


def give_up(channel: Channel, cause: Dict[str, Any]) -> NoReturn:
    """Tell the server why, and end even if the script left threads behind."""
    channel.tell(frames.FAILED, _json(cause))
    sys.stdout.flush()
    sys.stderr.flush()
    faults.end(LOAD_FAILED)


def log_model_dir(path: str, logger: logging.Logger) -> None:
    if not path or not os.path.exists(path):
        return
    logger.info("Model Directory Contents:")
    from sluice_models import tree

    lines = tree(path)
    for line in itertools.islice(lines, TREE_LINES):
        logger.info(line)
    if next(lines, None):
        logger.info("Output Truncated. First %s lines shown.", TREE_LINES)


class Reasons:
    """Says why a request failed. The words for it are loaded when they are needed."""

    def __init__(self, settings: scripts.Settings, versions: VersionWarnings) -> None:
        self.settings = settings
        self.versions = versions

    def raised(self, error: BaseException) -> bytes:
        return self._told(lambda f: f.cause_of(error, "run", self.settings, self.versions))

    def unsendable(self, error: Exception, run: Any) -> bytes:
        return self._told(lambda f: f.unsendable(error, run, self.settings))

    def _told(self, words: Callable[[ModuleType], Dict[str, Any]]) -> bytes:
        """A script can break what finds the words too; its request still ends."""
        try:
            import sluice_failures as failures

            cause = words(failures)
            told = _json(cause)
            return told if len(told) < MAX_TOLD else _json({**cause, "evidence": []})
        except Exception:
            return b""


def serve(
    channel: Channel,
    incoming: Iterator[Frame],
    script: scripts.Script,
    reasons: Reasons,
    logger: logging.Logger,
) -> None:
    """Answer every request. What the server reads in shared memory: the start
    is written before the id, so that a new id never has an old start."""
    words, cancel = channel.words, channel.cancel
    running = False

    def abort(number: int, frame: Any) -> None:
        # The signal may come late, when another request is inside already.
        if running and words[frames.WORD_ABORT] == words[frames.WORD_RUNNING]:
            raise TimeoutError

    seen: Optional[Any] = None
    if script.sees_http:
        from sluice_exchange import Exchange

        seen = Exchange(channel, script)
    signal.signal(signal.SIGUSR1, abort)
    logger.info("Worker with pid %s ready for serving traffic", os.getpid())
    ready = {
        "headers": script.wants_headers,
        "kind": script.kind,
        "whole": script.sees_http,
        "mlflow": script.mlflow,
    }
    channel.tell(frames.READY, _json(ready))
    prepare = script.reader or (text_of if script.kind == scripts.PLAIN else inputs_of(script.kind))
    clock, run, dumps = clock_gettime_ns, script.run, script.dumps or scripts.output_json
    for frame in incoming:
        if frame.type != frames.REQUEST:
            continue
        if cancel[frame.slot]:
            channel.drop_body(frame)
            channel.answer(frame, frames.CANCELED, 0, b"")
            continue
        words[frames.WORD_START] = clock(CLOCK_MONOTONIC)
        words[frames.WORD_RUNNING] = frame.id
        ran = 0
        try:
            if seen is None:
                arguments = prepare(channel, frame, script)
            else:
                arguments = seen.begin(frame, prepare)
            running = True
            began = clock(CLOCK_MONOTONIC)
            output = run(**arguments)
            ran = clock(CLOCK_MONOTONIC) - began
            running = False
        except BaseException as error:
            inside, running = running, False
            if seen is not None:
                seen.end()
            if not inside and isinstance(error, inputs.InputError):
                channel.answer(frame, error.outcome, 0, error.body)
                continue
            told = reasons.raised(error) if inside else b""
            channel.answer(frame, judge(error, inside, logger), ran, told)
            if not isinstance(error, Exception):
                channel.flush()
                raise
            continue
        try:
            if type(output) is frames.Refused:
                channel.answer(frame, frames.BAD_INPUT, output.status, output.body)
            else:
                channel.answer(frame, frames.OK, ran, dumps(output))
        except Exception as error:
            from sluice_exchange import respond

            respond(channel, frame, ran, output, seen, Failing(error, run, reasons, logger))
        if seen is not None:
            seen.end()


class Failing(NamedTuple):
    """What to say of an output that is not JSON, unless it is a response."""

    error: Exception
    run: Any
    reasons: Reasons
    logger: logging.Logger

    def internal(self, error: Exception) -> bytes:
        log_exception(error, self.logger)
        return self.reasons.unsendable(error, self.run)

    def raised(self, error: BaseException) -> Tuple[int, bytes]:
        return judge(error, True, self.logger), self.reasons.raised(error)


def text_of(channel: Channel, frame: Frame, script: scripts.Script) -> Dict[str, Any]:
    """The arguments of a run() that takes text. Raises InputError."""
    if frame.flags & frames.FLAG_GET:
        channel.drop_body(frame)
        text = json.dumps(inputs.query_object(inputs.query_of(frame.meta)))
    else:
        try:
            text = channel.body_text(frame)
        except UnicodeDecodeError as error:
            raise inputs.InputError(f"Input cannot be decoded as UTF-8: {error}") from None
    if script.wants_headers:
        return {script.parameter: text, "request_headers": inputs.headers_of(frame.meta)}
    return {script.parameter: text}


def inputs_of(kind: str) -> Callable[[Channel, Frame, scripts.Script], Dict[str, Any]]:
    """What makes the arguments of a run() that takes no text."""
    import sluice_exchange as exchange

    return exchange.request_of if kind == scripts.RAW else exchange.fields_of


def judge(error: BaseException, inside: bool, logger: logging.Logger) -> int:
    """The outcome for what was raised inside run(), or on the way there."""
    log_exception(error, logger)
    if not inside and isinstance(error, Exception):
        return frames.INTERNAL
    if isinstance(error, TimeoutError):
        return frames.TIMED_OUT
    if not isinstance(error, Exception):
        return frames.EXITED
    return frames.RAISED


def log_exception(error: BaseException, logger: logging.Logger) -> None:
    logger.error("Encountered Exception: %s", traceback_of(error))


def traceback_of(error: BaseException) -> str:
    from sluice_places import user_traceback

    return user_traceback(error)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")
