"""Puts something else where its last words belong, and ends."""

import os

FILE = os.path.join(os.environ["HOME"], "termination")


def clear():
    if os.path.isdir(FILE):
        os.rmdir(FILE)
    elif os.path.lexists(FILE):
        os.unlink(FILE)


def link():
    os.symlink(os.environ["AIM"], FILE)


def pipe():
    os.mkfifo(FILE)


def folder():
    os.makedirs(FILE + "/full")


def gigabytes():
    with open(FILE, "wb") as file:
        file.truncate(1 << 40)


def forged():
    with open(FILE, "w") as file:
        file.write('{"code": "\\u001b[2J", "message": "' + "\\u001b[2J" * 600 + '"}')


def closed():
    forged()
    os.chmod(FILE, 0)


def init():
    clear()
    globals()[os.environ["TRICK"]]()
    raise ValueError("these are its last words")


def run(data):
    return data
