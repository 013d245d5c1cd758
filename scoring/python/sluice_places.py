"""Where in the user's own code something happened, and how to show it."""

from __future__ import annotations

import os
import sysconfig
import traceback
from types import TracebackType
from typing import Any, Dict, List, NamedTuple, Optional

from sluice_script import Settings

Cause = Dict[str, Any]  # code, message and what else is known of it


class Place(NamedTuple):
    file: str
    line: int
    function: str = ""
    source: str = ""


def places_in(tb: Optional[TracebackType]) -> List[Place]:
    """The calls of a traceback that are in files, outermost first."""
    return [
        Place(frame.filename, frame.lineno or 0, frame.name, frame.line or "")
        for frame in traceback.extract_tb(tb)
        if not frame.filename.startswith("<")
    ]


_STDLIB = tuple(
    os.path.join(path, "")
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if path
)


def third_party(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file


def installed(file: str) -> bool:
    return third_party(file) or file.startswith(_STDLIB)


def own(file: str, settings: Settings) -> bool:
    if installed(file):
        return False
    full = os.path.realpath(file)
    return any(full.startswith(root.rstrip(os.sep) + os.sep) for root in settings.roots())


def user_place(tb: Optional[TracebackType], settings: Settings) -> Optional[Place]:
    """The innermost line of the user's own code in a traceback."""
    places = places_in(tb)
    mine = [place for place in places if own(place.file, settings)]
    others = [place for place in places if not installed(place.file)]
    chosen = mine or others
    return chosen[-1] if chosen else None


def shown(file: str, settings: Settings) -> str:
    """A file's name as its author knows it: relative to the folder of the code."""
    full = os.path.realpath(file)
    for root in settings.roots():
        if root != os.sep and full.startswith(root + os.sep):
            return os.path.relpath(full, root)
    return file


def user_traceback(error: BaseException) -> str:
    """The traceback without the frames of the server."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(("<sluice>", "<frozen")):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb)).rstrip("\n")


def text_of(error: BaseException) -> str:
    """What an exception says, bounded. Its class is the script's: asking may fail."""
    try:
        return str(error)[:4000]
    except Exception:
        return "<exception str() failed>"


def brief(error: BaseException) -> str:
    text = " ".join(text_of(error).split())
    if isinstance(error, ImportError) and text.endswith(")"):
        # Where Python found the other module is deep in the environment.
        text = text.partition(" (/")[0]
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__
