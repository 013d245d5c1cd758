"""Formatter and filter for a logging.json."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import time
from typing import Any, Optional


class RootAccessFilter(logging.Filter):
    """Leaves out the access records of health probes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "GET / HTTP/1.1" not in record.getMessage()


class AMLLogFormatter(logging.Formatter):
    """The format of the server's log; times are UTC."""

    def __init__(
        self,
        fmt: str = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s",
        datefmt: Optional[str] = None,
        style: Any = "%",
    ) -> None:
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)

    def converter(self, timestamp: Optional[float]) -> time.struct_time:
        return time.gmtime(timestamp)


def load_logging_config(root_dir: Optional[str], silent: bool = False) -> bool:
    """Configure logging by the logging.json of a folder; false when there is none."""
    if not root_dir:
        return False
    path = os.path.join(root_dir, "logging.json")
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    logging.config.dictConfig(config)
    if not silent:
        logging.getLogger("azmlinfsrv").info("Loaded logging config from %s", path)
    return True
