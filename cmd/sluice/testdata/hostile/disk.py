"""Fills every place where it may write, with bytes and with files."""

import errno
import json
import os


def init():
    pass


def run(data):
    facts = json.loads(data)
    told = {}
    for where in ["/tmp", os.environ["HOME"], "/dev/shm", "/var/tmp", os.environ["TMPDIR"]]:
        told[where] = fill(f"{where}/filler{len(told)}", facts["most"])
    told["files"] = files(os.environ["TMPDIR"] + "/many", facts["most_files"])
    return told


def fill(path, most):
    block = b"x" * (1 << 20)
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < most:
                written += file.write(block)
        return {"written": written, "error": ""}
    except OSError as error:
        return {"written": written, "error": errno.errorcode[error.errno]}


def files(folder, most):
    n = 0
    try:
        os.mkdir(folder)
        for n in range(most):
            os.close(os.open(f"{folder}/{n}", os.O_CREAT | os.O_WRONLY))
        return {"written": n, "error": ""}
    except OSError as error:
        return {"written": n, "error": errno.errorcode[error.errno]}
