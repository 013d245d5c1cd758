"""What the server learns of a worker past the script.

One descriptor takes it all: the stacks of a crash, where the main thread stands
whenever the server asks (SIGURG), and who called os._exit. It is not standard
error, which is the script's. faulthandler writes to it in C, so an answer comes
while native code holds the interpreter too; and the signal interrupts nothing:
system calls go on, and where its handler is gone it is ignored by default.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import Any, Callable, NoReturn

end = os._exit  # the real one
_enable: Callable[..., None] = faulthandler.enable


def install(descriptor: int) -> None:
    """Send everything to the descriptor from now on, for this process only."""
    os.set_inheritable(descriptor, False)
    _enable(file=descriptor)
    faulthandler.register(signal.SIGURG, file=descriptor, all_threads=False)
    _share_handler(descriptor)
    _tell_exits(descriptor)
    os.register_at_fork(after_in_child=_leave)


def _share_handler(descriptor: int) -> None:
    """Keep a script that wants crashes on standard error from taking them away:
    the server copies them there. Where it names another place, it has its way."""

    def enable(file: Any = None, all_threads: bool = True, **more: Any) -> None:
        if file is None or file is sys.stderr or file == 2:
            file = descriptor
        _enable(file=file, all_threads=all_threads, **more)

    faulthandler.enable = enable


def _tell_exits(descriptor: int) -> None:
    """Have os._exit say where it was called. Forked children are not asked."""
    worker = os.getpid()

    def _exit(status: Any) -> NoReturn:
        if os.getpid() == worker and isinstance(status, int):
            try:
                os.write(descriptor, b"Exit with code %d\n" % (status & 0xFF))
                faulthandler.dump_traceback(file=descriptor, all_threads=False)
            except (OSError, ValueError, RuntimeError):
                pass  # the script has closed it; it may end all the same
        end(status)

    os._exit = _exit


def _leave() -> None:
    """A child's crash is its own: it goes where it would go without us."""
    faulthandler.unregister(signal.SIGURG)
    _enable(file=2)
