"""A response with the surface of Flask's, for environments without Flask."""

from __future__ import annotations

import json
import re
import time
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterable, Iterator, List, Match, Optional, Tuple, Union
from urllib.parse import quote

from ._values import Body, Headers, is_json, parse_options

_TEXTUAL = frozenset(
    "application/" + kind
    for kind in ("ecmascript", "javascript", "sql", "xml", "xml-dtd", "xml-external-parsed-entity")
)
_BODILESS = (204, 304)
_ENTITY = (
    "allow", "content-encoding", "content-language", "content-length", "content-md5",
    "content-range", "content-type", "last-modified",
)  # fmt: skip


def content_type_of(mimetype: str) -> str:
    """The Content-Type for a mimetype: text says that it is UTF-8."""
    if mimetype.startswith("text/") or mimetype in _TEXTUAL or mimetype.endswith("+xml"):
        return mimetype + "; charset=utf-8"
    return mimetype


class Response:
    """What a client is answered."""

    default_status = 200
    default_mimetype = "text/html"
    implicit_sequence_conversion = True
    direct_passthrough = False

    def __init__(
        self,
        response: Union[Body, Iterable[Any], None] = None,
        status: Union[int, str, HTTPStatus, None] = None,
        headers: Any = None,
        mimetype: Optional[str] = None,
        content_type: Optional[str] = None,
        direct_passthrough: bool = False,
    ) -> None:
        self.headers = Headers(headers)
        if content_type is None:
            if mimetype is None and "content-type" not in self.headers:
                mimetype = self.default_mimetype
            if mimetype is not None:
                content_type = content_type_of(mimetype)
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        self.status = self.default_status if status is None else status
        self.direct_passthrough = direct_passthrough
        self.response: Any = []
        self._on_close: List[Callable[[], Any]] = []
        if isinstance(response, (str, bytes, bytearray)):
            self.set_data(response)
        elif response is not None:
            self.response = response

    def __repr__(self) -> str:
        what = "streamed" if self.is_streamed else f"{sum(map(len, self.iter_encoded()))} bytes"
        return f"<{type(self).__name__} {what} [{self.status}]>"

    # --- Status and headers

    @property
    def status(self) -> str:
        return self._status

    @status.setter
    def status(self, value: Any) -> None:
        self._status, self._status_code = _status_of(value)

    @property
    def status_code(self) -> int:
        return self._status_code

    @status_code.setter
    def status_code(self, value: int) -> None:
        self.status = value

    @property
    def content_type(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Content-Type")
        return value

    @content_type.setter
    def content_type(self, value: str) -> None:
        self.headers["Content-Type"] = value

    @property
    def mimetype(self) -> Optional[str]:
        value = self.content_type
        return parse_options(value)[0] if value else None

    @mimetype.setter
    def mimetype(self, value: str) -> None:
        self.headers["Content-Type"] = content_type_of(value)

    @property
    def mimetype_params(self) -> Dict[str, str]:
        return parse_options(self.content_type)[1]

    @property
    def content_length(self) -> Optional[int]:
        value: Optional[int] = self.headers.get("Content-Length", None, int)
        return value

    @content_length.setter
    def content_length(self, value: int) -> None:
        self.headers["Content-Length"] = value

    @property
    def content_encoding(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Content-Encoding")
        return value

    @content_encoding.setter
    def content_encoding(self, value: str) -> None:
        self.headers["Content-Encoding"] = value

    @property
    def location(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Location")
        return value

    @location.setter
    def location(self, value: str) -> None:
        self.headers["Location"] = value

    @property
    def is_json(self) -> bool:
        return is_json((self.mimetype or "").lower())

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: Any = None,
        expires: Any = None,
        path: Optional[str] = "/",
        domain: Optional[str] = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Optional[str] = None,
    ) -> None:
        if hasattr(max_age, "total_seconds"):
            max_age = int(max_age.total_seconds())
        if expires is None and max_age is not None:
            expires = time.time() + max_age
        if expires is not None and not isinstance(expires, str):
            expires = _date(expires)
        if samesite is not None and samesite.title() not in ("Strict", "Lax", "None"):
            raise ValueError("SameSite must be 'Strict', 'Lax', or 'None'.")
        domain = (domain or "").partition(":")[0].lstrip(".").encode("idna").decode("ascii")
        parts = [f"{key.encode().decode('latin-1')}={_cookie_value(value)}"]
        for name, given in (
            ("Domain", domain or None),
            ("Expires", expires),
            ("Max-Age", max_age),
            ("Secure", secure),
            ("HttpOnly", httponly),
            ("Path", None if path is None else quote(path, safe="%!$&'()*+,/:=@")),
            ("SameSite", samesite and samesite.title()),
        ):
            if given is True:
                parts.append(name)
            elif given is not None and given is not False:
                parts.append(f"{name}={given}")
        self.headers.add("Set-Cookie", "; ".join(parts))

    def delete_cookie(
        self, key: str, path: Optional[str] = "/", domain: Optional[str] = None, **more: Any
    ) -> None:
        self.set_cookie(key, expires=0, max_age=0, path=path, domain=domain, **more)

    # --- The body

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.response, (tuple, list))

    @property
    def is_streamed(self) -> bool:
        try:
            len(self.response)
        except (TypeError, AttributeError):
            return True
        return False

    def make_sequence(self) -> None:
        if not self.is_sequence:
            given = self.response
            self.response = list(self.iter_encoded())
            if hasattr(given, "close"):
                self.call_on_close(given.close)

    def iter_encoded(self) -> Iterator[bytes]:
        for part in self.response:
            yield part.encode() if isinstance(part, str) else part

    def get_data(self, as_text: bool = False) -> Any:
        self.make_sequence()
        data = b"".join(self.iter_encoded())
        return data.decode() if as_text else data

    def set_data(self, value: Body) -> None:
        data = value.encode() if isinstance(value, str) else bytes(value)
        self.response = [data]
        self.headers["Content-Length"] = len(data)

    data = property(get_data, set_data)

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        if not (force or self.is_json):
            return None
        try:
            return json.loads(self.get_data())
        except ValueError:
            if not silent:
                raise
            return None

    @property
    def json(self) -> Any:
        return self.get_json()

    def calculate_content_length(self) -> Optional[int]:
        self.make_sequence()
        return sum(map(len, self.response))

    def call_on_close(self, func: Callable[[], Any]) -> Callable[[], Any]:
        self._on_close.append(func)
        return func

    def close(self) -> None:
        if hasattr(self.response, "close"):
            self.response.close()
        for func in self._on_close:
            func()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # --- On its way

    def get_wsgi_headers(self, environ: Dict[str, Any]) -> Headers:
        headers = self.headers.copy()
        status = self.status_code
        if 100 <= status < 200 or status == 204:
            headers.remove("Content-Length")
        elif status == 304:
            for name in _ENTITY:
                headers.remove(name)
        elif self.is_sequence and "content-length" not in headers:
            headers["Content-Length"] = sum(map(len, self.iter_encoded()))
        return headers

    def get_wsgi_response(
        self, environ: Dict[str, Any]
    ) -> Tuple[Iterable[bytes], str, List[Tuple[str, str]]]:
        status = self.status_code
        headers = self.get_wsgi_headers(environ).to_wsgi_list()
        if environ["REQUEST_METHOD"] == "HEAD" or 100 <= status < 200 or status in _BODILESS:
            return (), self.status, headers
        return self.iter_encoded(), self.status, headers


def _status_of(value: Any) -> Tuple[str, int]:
    if isinstance(value, int):
        try:
            phrase = HTTPStatus(value).phrase.upper()
        except ValueError:
            phrase = "UNKNOWN"
        return f"{int(value)} {phrase}", int(value)
    value = value.strip()
    if not value:
        raise ValueError("Empty status argument")
    number, separator, _ = value.partition(" ")
    try:
        code = int(number)
    except ValueError:
        return f"0 {value}", 0
    return (value, code) if separator else _status_of(code)


_PLAIN_COOKIE = re.compile(r"[\w!#$%&'()*+\-./:<=>?@\[\]^`{|}~]*\Z", re.ASCII)


def _cookie_value(value: str) -> str:
    if _PLAIN_COOKIE.match(value):
        return value

    def escaped(found: Match[bytes]) -> bytes:
        byte = found.group()
        return b"\\" + byte if byte in (b'"', b"\\") else b"\\%03o" % ord(byte)

    return '"' + re.sub(rb'[\x00-\x19",;\\\x7f-\xff]', escaped, value.encode()).decode() + '"'


def _date(moment: Any) -> str:
    from email.utils import formatdate

    return formatdate(moment.timestamp() if hasattr(moment, "timestamp") else moment, usegmt=True)
