"""The request that a script decorated with @rawhttp gets."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

try:
    from flask import Request
except ModuleNotFoundError as error:
    if error.name != "flask":
        raise
    from .._request import Request

Function = TypeVar("Function", bound=Callable[..., Any])

_rawHttpRequested = False  # noqa: N816  # the name is the original's


def rawhttp(func: Function) -> Function:
    """Have run() called with the request instead of with its body."""
    global _rawHttpRequested
    _rawHttpRequested = True
    return func


class AMLRequest(Request):  # type: ignore[misc]  # one of two
    """For annotations: run() is given a Request."""
