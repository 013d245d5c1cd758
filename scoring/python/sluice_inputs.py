"""What run() gets: from a query string and from request headers."""

from __future__ import annotations

import codecs
import inspect
import json
from typing import Any, Dict, List, Tuple, Union
from urllib.parse import parse_qsl, quote

from sluice_frames import BAD_INPUT

WHOLE_PARTS = 4  # method, path, protocol, address

# Releases of Python before this parameter took ";" for a separator as well.
_SEPARATOR: Dict[str, Any] = (
    {"separator": "&"} if "separator" in inspect.signature(parse_qsl).parameters else {}
)


class InputError(Exception):
    """The input cannot be used, which is the client's doing."""

    def __init__(self, message: str, outcome: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.body = json.dumps({"message": message}).encode("ascii")


def _quote_undecodable(error: UnicodeError) -> Tuple[Union[str, bytes], int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return quote(error.object[error.start : error.end], safe=""), error.end


codecs.register_error("sluice.quote", _quote_undecodable)


def query_object(query: str) -> Dict[str, Any]:
    """The query string as an object: each value is read as JSON where it is
    JSON, and a key that comes more than once gives a list."""
    pairs: Dict[str, List[Any]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, errors="sluice.quote", **_SEPARATOR):
        pairs.setdefault(key, []).append(_json_or_text(value))
    return {k: v[0] if len(v) == 1 else v for k, v in pairs.items()}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_fields(body: bytes) -> Dict[str, Any]:
    """The fields of a JSON object. Raises InputError."""
    try:
        fields = json.loads(body)
    except json.JSONDecodeError as error:
        if not body:
            message = "POST body is empty. Expecting a JSON dictionary."
            raise InputError(message) from None
        message = f"POST body could not be decoded as JSON: {error}"
        raise InputError(message) from None
    if not isinstance(fields, dict):
        raise InputError("POST body should be a JSON dictionary.")
    return fields


def query_of(meta: bytes) -> str:
    """The query string in the meta of a request. Raises UnicodeDecodeError."""
    return meta.partition(b"\0")[0].decode("utf-8")


def without_whole(meta: bytes) -> bytes:
    """The meta of a request without what is there only of a whole one."""
    return meta.split(b"\0", WHOLE_PARTS)[WHOLE_PARTS]


def headers_of(meta: bytes) -> Dict[str, str]:
    """The headers in the meta of a request, with Title-Case names."""
    parts = meta.partition(b"\0")[2].decode("latin-1").split("\0")
    return {name.title(): value for name, value in zip(parts[0::2], parts[1::2])}
