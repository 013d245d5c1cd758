"""Forms: application/x-www-form-urlencoded and multipart/form-data.

The limits and the leniency are Flask's: a form that is not well-formed is an
empty one, and one over a limit is an error.
"""

from __future__ import annotations

import codecs
import inspect
import io
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union
from urllib.parse import parse_qsl, quote

from ._values import Headers, HTTPError, MultiDict, parse_options

MAX_FIELDS = 500_000  # bytes of all fields that are no files
MAX_PARTS = 1000

_NEWLINE = rb"(?:\r\n|\n|\r)"
_BLANK = re.compile(rb"\r\n\r\n|\r\r|\n\n")
_CONTINUED = re.compile(_NEWLINE + rb"[ \t]")
_CHARSETS = ("ascii", "us-ascii", "utf-8", "iso-8859-1")

# Releases of Python before this parameter took ";" for a separator as well.
_SEPARATOR: Dict[str, Any] = (
    {"separator": "&"} if "separator" in inspect.signature(parse_qsl).parameters else {}
)


def _quote_undecodable(error: UnicodeError) -> Tuple[Union[str, bytes], int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return quote(error.object[error.start : error.end], safe=""), error.end


QUOTED = "azureml_inference_server_http.quoted"  # for what is not UTF-8
codecs.register_error(QUOTED, _quote_undecodable)


def parse_query(text: str) -> MultiDict:
    """The fields of a query string, or of a form in the same shape."""
    return MultiDict(parse_qsl(text, keep_blank_values=True, errors=QUOTED, **_SEPARATOR))


class FileStorage:
    """A file of a form. What is not here is what its stream has."""

    def __init__(
        self,
        stream: Any = None,
        filename: Optional[str] = None,
        name: Optional[str] = None,
        content_type: Optional[str] = None,
        content_length: Optional[int] = None,
        headers: Optional[Headers] = None,
    ) -> None:
        self.stream = stream if stream is not None else io.BytesIO()
        self.filename = filename
        self.name = name
        self.headers = headers if headers is not None else Headers()
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        if content_length is not None:
            self.headers["Content-Length"] = content_length

    @property
    def content_type(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Content-Type")
        return value

    @property
    def content_length(self) -> int:
        length: int = self.headers.get("Content-Length", 0, int)
        return length

    @property
    def mimetype(self) -> str:
        return parse_options(self.content_type)[0].lower()

    @property
    def mimetype_params(self) -> Dict[str, str]:
        return parse_options(self.content_type)[1]

    def save(self, dst: Any, buffer_size: int = 16384) -> None:
        """Write the file to a path, or to a file that is open."""
        if hasattr(dst, "write"):
            self._copy(dst, buffer_size)
            return
        with open(os.fspath(dst), "wb") as file:
            self._copy(file, buffer_size)

    def _copy(self, dst: Any, size: int) -> None:
        for part in iter(lambda: self.stream.read(size), b""):
            dst.write(part)

    def close(self) -> None:
        self.stream.close()

    def __bool__(self) -> bool:
        return bool(self.filename)

    def __getattr__(self, name: str) -> Any:
        if name == "stream":  # not set yet
            raise AttributeError(name)
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.filename!r} ({self.content_type!r})>"


def is_form(content_type: Optional[str]) -> bool:
    """Whether a body is read as a form; otherwise it is left as it is."""
    kind, options = parse_options(content_type)
    if kind.lower() == "multipart/form-data":
        return bool(options.get("boundary"))
    return kind.lower() == "application/x-www-form-urlencoded"


def parse_form(body: bytes, content_type: Optional[str]) -> Tuple[MultiDict, MultiDict]:
    """Fields and files of a form."""
    kind, options = parse_options(content_type)
    try:
        if kind.lower() == "application/x-www-form-urlencoded":
            return parse_query(body.decode()), MultiDict()
        if kind.lower() == "multipart/form-data":
            return parse_multipart(body, options["boundary"].encode("ascii"))
    except HTTPError:
        raise
    except ValueError:
        pass
    return MultiDict(), MultiDict()


def parse_multipart(body: bytes, boundary: bytes) -> Tuple[MultiDict, MultiDict]:
    """Fields and files of a multipart form. Raises ValueError when it is none."""
    fields: List[Tuple[str, Any]] = []
    files: List[Tuple[str, Any]] = []
    size = 0
    for count, (headers, data) in enumerate(_parts(body, boundary)):
        if count >= MAX_PARTS:
            raise HTTPError(413, "the form has more parts than forms may have")
        if "content-disposition" not in headers:
            raise ValueError("a part has no Content-Disposition")
        options = parse_options(headers["content-disposition"])[1]
        name: Any = options.get("name")
        kind = headers.get("Content-Type")
        if "filename" in options:
            stored = FileStorage(io.BytesIO(data), options["filename"], name, headers=headers)
            files.append((name, stored))
            continue
        size += len(data)
        if size > MAX_FIELDS:
            raise HTTPError(413, "the fields are larger than they may be")
        charset = parse_options(kind)[1].get("charset", "utf-8").lower()
        text = data.decode(charset if charset in _CHARSETS else "utf-8", "replace")
        fields.append((name, text))
    return MultiDict(fields), MultiDict(files)


def _parts(body: bytes, boundary: bytes) -> Iterator[Tuple[Headers, bytes]]:
    """Headers and content of each part, up to the closing boundary."""
    tail = rb"(--[^\S\n\r]*" + _NEWLINE + rb"?|[^\S\n\r]*" + _NEWLINE + rb")"
    delimiter = b"--" + re.escape(boundary) + tail
    found = re.search(_NEWLINE + b"?" + delimiter, body)
    between = re.compile(_NEWLINE + delimiter)
    while found is not None and not found.group(1).startswith(b"--"):
        blank = _BLANK.search(body, found.end())
        if blank is None:
            break
        # An empty part has its boundary in the blank line's second half.
        following = between.search(body, (blank.start() + blank.end()) // 2)
        if following is None:
            break
        yield _headers(body[found.end() : blank.start()]), body[blank.end() : following.start()]
        found = following
    else:
        if found is not None:
            return
    raise ValueError("the form has no end")


def _headers(text: bytes) -> Headers:
    headers = Headers()
    for line in _CONTINUED.sub(b" ", text).splitlines():
        name, _, value = line.decode().partition(":")
        if line.strip(b" \t"):
            headers.add(name.strip(" \t"), value.strip(" \t"))
    return headers
