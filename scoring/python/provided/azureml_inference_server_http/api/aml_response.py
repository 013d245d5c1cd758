"""The response that a script may return instead of what becomes JSON."""

from __future__ import annotations

import json
from typing import Any, Mapping

try:
    from flask import Response
except ModuleNotFoundError as error:
    if error.name != "flask":
        raise
    from .._response import Response


class AMLResponse(Response):  # type: ignore[misc]  # one of two
    """A response with status and headers. A comma in the value of a header makes
    several headers of it."""

    def __init__(
        self,
        message: Any,
        status_code: Any,
        response_headers: Mapping[str, str] = {},  # it is the original's
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        if message is None or json_str:
            text = json.dumps({} if message is None else message)
            super().__init__(text, status=status_code, mimetype="application/json")
        else:
            super().__init__(message, status=status_code)
            if "Content-Type" in response_headers:
                self.headers.remove("Content-Type")
        self.headers["x-ms-run-function-failed"] = run_function_failed
        for name, value in response_headers.items():
            for part in value.split(","):
                self.headers.add_header(name, part.strip())
