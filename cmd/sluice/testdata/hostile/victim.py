"""A neighbour that only wants to be left alone."""

import os
import time

SECRET = os.environ["VICTIM_SECRET"]
began = time.time()


def init():
    pass


def run(data):
    return [
        data,
        os.getpid(),
        began,
        sorted(os.listdir(os.environ["HOME"])),
        sorted(os.listdir(os.environ["TMPDIR"])),
    ]
