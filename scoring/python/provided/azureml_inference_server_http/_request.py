"""A request with the surface of Flask's, for environments without Flask."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any, Dict, List, Match, Optional, Tuple
from urllib.parse import quote, unquote

from ._forms import QUOTED, is_form, parse_form, parse_query
from ._values import Headers, HTTPError, MultiDict, is_json, parse_options

_TITLED = {"CONTENT_TYPE": "Content-Type", "CONTENT_LENGTH": "Content-Length"}
_UNPARSED = object()
_SAFE = "!$&'()*+,/:;=@%~"
_CONTROLS = [*range(0x21), 0x25, 0x7F]


class Authorization:
    """The Authorization header, taken apart."""

    def __init__(self, auth_type: str, token: Optional[str], parameters: Dict[str, str]) -> None:
        self.type = auth_type
        self.token = token
        self.parameters = parameters
        self.username = parameters.get("username")
        self.password = parameters.get("password")


class UserAgent:
    def __init__(self, string: str) -> None:
        self.string = string

    def to_header(self) -> str:
        return self.string

    __str__ = to_header

    def __bool__(self) -> bool:
        return bool(self.string)


class Request:
    """One request, made from a WSGI environment. The body is all there."""

    def __init__(self, environ: Dict[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"].upper()
        self.scheme: str = environ.get("wsgi.url_scheme", "http")
        self.root_path = self.script_root = ""
        self.path: str = "/" + _decoded(environ["PATH_INFO"]).lstrip("/")
        self.query_string: bytes = environ["QUERY_STRING"].encode("latin-1")
        self.remote_addr: Optional[str] = environ.get("REMOTE_ADDR")
        self.headers = Headers(
            (_TITLED.get(key) or key[5:].replace("_", "-").title(), value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or (key in _TITLED and value)
        )
        self.stream: io.BytesIO = environ["wsgi.input"]
        self.shallow = False
        self.endpoint, self.blueprint, self.blueprints = "main.handle_score", "main", ["main"]
        self.view_args: Dict[str, Any] = {}
        self._data: Optional[bytes] = None
        self._form: Optional[Tuple[MultiDict, MultiDict]] = None
        self._json: Any = _UNPARSED

    def __getattr__(self, name: str) -> Any:
        hint = (
            "" if name.startswith("_") else "; with flask in the environment requests are Flask's"
        )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url!r} [{self.method}]>"

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        for _, file in self.files.items(multi=True):
            file.close()

    # --- The address

    @property
    def host(self) -> str:
        host: str = self.headers.get("Host", "")
        port = ":443" if self.scheme == "https" else ":80"
        return host[: -len(port)] if host.endswith(port) else host

    @property
    def host_url(self) -> str:
        return f"{self.scheme}://{self.host}/"

    root_url = url_root = host_url

    @property
    def base_url(self) -> str:
        return self.host_url + _readable(quote(self.path.lstrip("/"), safe=_SAFE), "/?#")

    @property
    def url(self) -> str:
        if not self.query_string:
            return self.base_url
        return f"{self.base_url}?{_readable(quote(self.query_string, safe=_SAFE + '?'), '&=+#')}"

    @property
    def full_path(self) -> str:
        return f"{self.path}?{self.query_string.decode()}"

    @property
    def is_secure(self) -> bool:
        return self.scheme in ("https", "wss")

    @property
    def access_route(self) -> List[str]:
        forwarded = self.headers.get("X-Forwarded-For")
        if forwarded is not None:
            return [part.strip() for part in forwarded.split(",") if part.strip()]
        return [self.remote_addr] if self.remote_addr else []

    @property
    def args(self) -> MultiDict:
        return parse_query(self.query_string.decode())

    # --- Headers

    @property
    def content_type(self) -> Optional[str]:
        value: Optional[str] = self.environ.get("CONTENT_TYPE")
        return value

    @property
    def content_length(self) -> Optional[int]:
        if self.environ.get("HTTP_TRANSFER_ENCODING") == "chunked":
            return None
        try:
            return max(0, int(self.environ["CONTENT_LENGTH"]))
        except (KeyError, ValueError):
            return None

    @property
    def content_encoding(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Content-Encoding")
        return value

    @property
    def mimetype(self) -> str:
        return parse_options(self.content_type)[0].lower()

    @property
    def mimetype_params(self) -> Dict[str, str]:
        return parse_options(self.content_type)[1]

    @property
    def is_json(self) -> bool:
        return is_json(self.mimetype)

    @property
    def cookies(self) -> MultiDict:
        found = MultiDict()
        for item in self.headers.get("Cookie", "").split(";"):
            name, _, value = item.partition("=")
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = _unescaped(value[1:-1])
            if name.strip():
                found.add(name.strip(), value)
        return found

    @property
    def referrer(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Referer")
        return value

    @property
    def origin(self) -> Optional[str]:
        value: Optional[str] = self.headers.get("Origin")
        return value

    @property
    def user_agent(self) -> UserAgent:
        return UserAgent(self.headers.get("User-Agent", ""))

    @property
    def authorization(self) -> Optional[Authorization]:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if not scheme or not rest:
            return None
        if scheme.lower() != "basic":
            return Authorization(scheme.lower(), rest.strip(), {})
        try:
            name, _, password = (
                base64.b64decode(rest.strip(), validate=True).decode().partition(":")
            )
        except ValueError:
            return None
        return Authorization("basic", None, {"username": name, "password": password})

    # --- The body

    def get_data(
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> Any:
        """The body, as bytes or as text. A form that was read is not there again."""
        data = self._data
        if data is None:
            if parse_form_data:
                self._load_form()
            data = self.stream.read()
            if cache:
                self._data = data
        return data.decode(errors="replace") if as_text else data

    @property
    def data(self) -> bytes:
        data: bytes = self.get_data(parse_form_data=True)
        return data

    @property
    def want_form_data_parsed(self) -> bool:
        return bool(self.content_type)

    def _load_form(self) -> Tuple[MultiDict, MultiDict]:
        if self._form is None:
            self._form = MultiDict(), MultiDict()
            if is_form(self.content_type):
                body = self._data if self._data is not None else self.stream.read()
                self._form = parse_form(body, self.content_type)
        return self._form

    @property
    def form(self) -> MultiDict:
        return self._load_form()[0]

    @property
    def files(self) -> MultiDict:
        return self._load_form()[1]

    @property
    def values(self) -> MultiDict:
        both = self.args
        if self.method != "GET":
            for key, value in self.form.items(multi=True):
                both.add(key, value)
        return both

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body as JSON. Without silent, a body that is none is an error."""
        if cache and self._json is not _UNPARSED:
            return self._json
        if not (force or self.is_json):
            if silent:
                return None
            raise HTTPError(
                415,
                "Did not attempt to load JSON data because the request"
                " Content-Type was not 'application/json'.",
            )
        try:
            value = json.loads(self.get_data(cache=cache))
        except ValueError as error:
            if silent:
                return None
            raise HTTPError(400, f"Failed to decode JSON object: {error}") from error
        if cache:
            self._json = value
        return value

    @property
    def json(self) -> Any:
        return self.get_json()

    def on_json_loading_failure(self, error: Optional[ValueError]) -> Any:
        raise HTTPError(400, f"Failed to decode JSON object: {error}")


def _unescaped(value: str) -> str:
    """The value of a cookie that was in quotes."""

    def plain(found: Match[bytes]) -> bytes:
        text = found.group(1)
        return text if len(text) == 1 else bytes([int(text, 8)])

    text = re.sub(rb"\\([0-3][0-7]{2}|.)", plain, value.encode())
    return text.decode(errors="replace")


def _readable(part: str, reserved: str) -> str:
    """A part of an address with its escapes taken out, where that keeps its meaning."""
    kept = "|".join(f"{code:02X}" for code in [*_CONTROLS, *map(ord, reserved)])
    pieces = re.split(f"((?:%(?:{kept}))+)", part, flags=re.IGNORECASE)
    pieces[::2] = [unquote(piece, errors=QUOTED) for piece in pieces[::2]]
    return "".join(pieces)


def _decoded(path: str) -> str:
    return path.encode("latin-1").decode(errors="replace")
