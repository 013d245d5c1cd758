"""Writes lines without end, short and long, to both of its outputs."""

import json
import os
import sys
import time


def init():
    pass


def run(data):
    facts = json.loads(data)
    end = time.monotonic() + facts["seconds"]
    line, long = b"talk " * 200 + b"\n", b"x" * (4 << 20)
    written = 0
    while time.monotonic() < end:
        written += os.write(1, line * 100) + os.write(2, line * 100)
        print("and a line of its own")
    os.write(1, long)
    sys.stdout.flush()
    return written
