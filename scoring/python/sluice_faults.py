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
from typing import Any, NoReturn

end = os._exit  # the real one


def install(descriptor: int) -> None:
    """Send everything to the descriptor from now on, for this process only."""
    os.set_inheritable(descriptor, False)
    faulthandler.enable(file=descriptor)
    faulthandler.register(signal.SIGURG, file=descriptor, all_threads=False)
    _tell_exits(descriptor)
    os.register_at_fork(after_in_child=_leave)


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
    faulthandler.enable(file=2)
