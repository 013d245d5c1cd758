"""Logging of a worker, in the format of the scoring contract.

A finished record is written to standard output with a mark in front, and its
further lines with another mark, so that the server passes them on as they are;
anything else that appears there is what the script wrote past the loggers, and
gets time, process and name from the server. One pipe keeps the order.
"""

from __future__ import annotations

import builtins
import logging
import os
import sys
import time
from typing import Any, Optional, TextIO

RECORD = "\x1e"
CONTINUED = "\x1f"

_plain_print = builtins.print


class _Formatter(logging.Formatter):
    def converter(self, timestamp: Optional[float]) -> time.struct_time:
        return time.gmtime(timestamp)


class _Handler(logging.Handler):
    """Writes each record with one call, so that a crash loses none."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self.format(record).split("\n")
            text = RECORD + ("\n" + CONTINUED).join(lines) + "\n"
            data = text.encode("utf-8", "backslashreplace")
            sys.stdout.flush()
            while data:
                data = data[os.write(1, data) :]
        except Exception:
            self.handleError(record)


def configure() -> logging.Logger:
    """Set up the loggers below azmlinfsrv and give the top one."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors="backslashreplace")
    handler = _Handler()
    handler.setFormatter(
        _Formatter("%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s")
    )
    logger = logging.getLogger("azmlinfsrv")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
    return logger


def load(path: str) -> None:
    """Configure the loggers by a file. Raises what logging.config raises."""
    import json
    import logging.config

    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    logging.basicConfig()  # the original's root logger has this handler by then
    logging.config.dictConfig(config)
    logging.getLogger("azmlinfsrv").info("Loaded logging config from %s", path)


def hook_print() -> None:
    """From now on print() to standard output becomes a log record."""
    logger = logging.getLogger("azmlinfsrv.print")

    def print_to_logger(
        *values: Any,
        sep: Optional[str] = " ",
        end: Optional[str] = "\n",
        file: Optional[TextIO] = None,
        flush: bool = False,
    ) -> None:
        if file is None or file is sys.stdout:
            logger.info((" " if sep is None else sep).join(map(str, values)))
        else:
            _plain_print(*values, sep=sep, end=end, file=file, flush=flush)

    builtins.print = print_to_logger  # type: ignore[assignment]
