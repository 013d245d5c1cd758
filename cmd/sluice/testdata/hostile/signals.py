"""Ends others by signals, and in the end itself."""

import fcntl
import json
import os
import signal
import socket

from attempts import Attempts


def init():
    pass


def run(data):
    facts = json.loads(data)
    attempt = Attempts(facts["mode"])
    for who, pid in facts["processes"].items():
        unseen = "EPERM" if who == "its own shim" else "ESRCH"
        for name in ["SIGKILL", "SIGSTOP", "SIGUSR1", "SIGTERM"]:
            attempt(
                f"send {name} to {who}",
                lambda: os.kill(pid, getattr(signal, name)),
                unseen,
                "EPERM",
            )
        if pid != 1:  # whose group, by number, is everybody
            attempt(
                f"send SIGKILL to the group of {who}",
                lambda: os.killpg(pid, signal.SIGKILL),
                ["ESRCH", "EPERM"],
                ["EPERM", "ESRCH"],
            )
        attempt(
            f"have the kernel send SIGKILL to {who}",
            lambda: by_owner(pid),
            ["ESRCH", "LookupError: to nobody that was seen"],
            "LookupError: to nobody that was seen",
        )
        attempt(f"send SIGKILL by a handle to {who}", lambda: by_handle(pid), unseen, "EPERM")
    if facts.get("all"):
        os.kill(-1, signal.SIGKILL)
    return attempt.told


F_SETSIG = 10


def by_owner(pid):
    """The owner of a descriptor is sent a signal when there is something to
    read. That nothing comes of it, those who would be ended tell."""
    reader, writer = socket.socketpair()
    with reader, writer:
        fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
        fcntl.fcntl(reader, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
        writer.send(b"x")
    raise LookupError("to nobody that was seen")


def by_handle(pid):
    fd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    finally:
        os.close(fd)
