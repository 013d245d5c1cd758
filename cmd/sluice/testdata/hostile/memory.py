"""Takes memory without end, when it is told to: at import, in init() or in run()."""

import os

kept = []


def take():
    while True:
        kept.append(b"x" * (16 << 20))


if os.environ.get("TAKE") == "import":
    take()


def init():
    if os.environ.get("TAKE") == "init":
        take()


def run(data):
    if "take" in data:
        take()
    return "spared"
