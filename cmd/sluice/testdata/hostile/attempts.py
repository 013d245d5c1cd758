"""What hostile scripts share.

Each thing that is tried is told with what came of it, and with what may come
of it where an instance has a world of its own and where it has Landlock only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from typing import Any, Callable, Dict, List, Sequence, Union

Outcomes = Union[str, Sequence[str]]

libc = ctypes.CDLL(None, use_errno=True)


class Attempts:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.told: List[Dict[str, Any]] = []

    def __call__(
        self, what: str, do: Callable[[], Any], world: Outcomes, landlock: Outcomes
    ) -> None:
        wanted = world if self.mode == "world" else landlock
        self.told.append(
            {
                "attempt": what,
                "outcome": outcome(do),
                "wanted": [wanted] if isinstance(wanted, str) else list(wanted),
            }
        )


def outcome(do: Callable[[], Any]) -> str:
    """The name of the error, or what was got."""
    try:
        got = do()
    except OSError as error:
        if error.errno is not None:
            return errno.errorcode.get(error.errno, str(error.errno))
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"got {got!r:.200}"


def syscall(number: int, *arguments: Any) -> int:
    """A system call past all libraries."""
    got = libc.syscall(ctypes.c_long(number), *[as_word(a) for a in arguments])
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(got)


def as_word(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def in_child(do: Callable[[], Any]) -> str:
    """What became of a child that did it: "exit 0" or the name of a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.WEXITSTATUS(status)}"


def read(path: str) -> str:
    with open(path, "rb") as file:
        return f"{len(file.read(100))} bytes"


def append(path: str, text: str = "x") -> str:
    with open(path, "a") as file:
        file.write(text)
    return "written"
