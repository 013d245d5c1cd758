"""Requests and responses of scripts that see HTTP: with Flask where it is
installed, and with what azureml_inference_server_http has in its place."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from typing import Any, ContextManager, Dict, Iterable, List, NamedTuple, Tuple
from urllib.parse import unquote_to_bytes

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORWARDED = {"X-Forwarded-Protocol": "ssl", "X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on"}
# The connection is the server's, not the script's.
_HOP = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
        "transfer-encoding", "upgrade",
    )
)  # fmt: skip


class Whole(NamedTuple):
    """All of a request but its body."""

    method: str
    path: str  # as it was sent
    protocol: str
    peer: str
    query: str
    headers: List[Tuple[str, str]]


def whole_of(meta: bytes) -> Whole:
    """The request in the meta of a frame."""
    method, path, protocol, peer, query, *rest = meta.decode("latin-1").split("\0")
    return Whole(method, path, protocol, peer, query, list(zip(rest[0::2], rest[1::2])))


def environ_of(whole: Whole, body: bytes) -> Dict[str, Any]:
    """The WSGI environment, as the original's HTTP layer makes it."""
    headers = {name.title(): value for name, value in whole.headers}
    secure = any(headers.get(name) == value for name, value in _FORWARDED.items())
    host, _, port = headers.get("Host", "").partition(":")
    environ: Dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if secure else "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "REQUEST_METHOD": whole.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(whole.path).decode("latin-1"),
        "QUERY_STRING": whole.query,
        "RAW_URI": whole.path + ("?" + whole.query if whole.query else ""),
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or ("443" if secure else "80"),
        "SERVER_PROTOCOL": whole.protocol,
        "SERVER_SOFTWARE": "sluice",
        "REMOTE_ADDR": whole.peer,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = value
    return environ


class Flask:
    """Makes Flask's own requests, in a context, so that all of Flask works."""

    def __init__(self) -> None:
        flask = importlib.import_module("flask")
        # With its folders given, Flask does not look for the module of that name.
        self.app = flask.Flask(
            "azureml_inference_server_http.server.create_app",
            static_folder=None,
            instance_path=os.path.join(os.getcwd(), "instance"),
            root_path=os.getcwd(),
        )
        self.app.add_url_rule(
            "/score",
            endpoint="main.handle_score",
            view_func=lambda: "",
            methods=["GET", "POST", "OPTIONS"],
            provide_automatic_options=False,
        )

    def open(self, environ: Dict[str, Any]) -> Tuple[Any, ContextManager[Any]]:
        context = self.app.request_context(environ)
        return context.request, context


class StandIn:
    """Makes requests without Flask."""

    def __init__(self) -> None:
        module = importlib.import_module("azureml_inference_server_http._request")
        self.request = module.Request

    def open(self, environ: Dict[str, Any]) -> Tuple[Any, ContextManager[Any]]:
        return self.request(environ), contextlib.nullcontext()


def opener() -> Any:
    """What makes the requests in this environment."""
    try:
        return Flask()
    except ModuleNotFoundError as error:
        if error.name != "flask":
            raise
        return StandIn()


def is_response(output: Any) -> bool:
    """Whether run() has returned a response. Its class must have been imported."""
    for name in ("flask", "azureml_inference_server_http._response"):
        module = sys.modules.get(name)
        if module is not None and isinstance(output, module.Response):
            return True
    return False


class Prepared(NamedTuple):
    """A response, ready to be sent."""

    status: int
    meta: bytes  # status and headers
    parts: Iterable[bytes]
    streams: bool


def prepare(response: Any, environ: Dict[str, Any]) -> Prepared:
    """A response as it goes to the client. Raises ValueError when it cannot."""
    parts, status, headers = response.get_wsgi_response(environ)
    code = int(status.split(None, 1)[0])
    if not 200 <= code <= 999:
        raise ValueError(f"the status of the response is {status}")
    meta = [str(code)]
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or "\0" in value or "\r" in value or "\n" in value:
            raise ValueError(f"{name!r} is no header: {value!r}")
        if name.lower() not in _HOP:
            meta += [name, value]
    streams = not response.is_sequence and not isinstance(parts, tuple)
    return Prepared(code, "\0".join(meta).encode("latin-1"), parts, streams)
