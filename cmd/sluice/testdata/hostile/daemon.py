"""Leaves processes behind that want to stay: in sessions of their own, deaf to
every signal that can be ignored, with an empty environment."""

import os
import signal
import sys

NAPPING = """
import signal, time
for s in set(range(1, 65)) - {9, 19, 32, 33}:
    signal.signal(s, signal.SIG_IGN)
time.sleep(1000)
"""


def init():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def run(data):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve(sys.executable, [sys.executable, "-c", NAPPING, data], {})
            os._exit(0)
        os.wait()
    return "left"
