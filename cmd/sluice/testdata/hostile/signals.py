"""Ends others by signals, and in the end itself."""

import json
import os
import signal

from attempts import Attempts


def init():
    pass


def run(data):
    facts = json.loads(data)
    attempt = Attempts(facts["mode"])
    for who, pid in facts["processes"].items():
        unseen = "EPERM" if who == "its own shim" else "ESRCH"
        for name in ["SIGKILL", "SIGSTOP", "SIGUSR1", "SIGTERM"]:
            attempt(f"send {name} to {who}", lambda: os.kill(pid, getattr(signal, name)), unseen, "EPERM")
        if pid != 1:  # whose group, by number, is everybody
            attempt(f"send SIGKILL to the group of {who}", lambda: os.killpg(pid, signal.SIGKILL), ["ESRCH", "EPERM"], ["EPERM", "ESRCH"])
        attempt(f"send SIGKILL by a handle to {who}", lambda: by_handle(pid), unseen, "EPERM")
    if facts.get("all"):
        os.kill(-1, signal.SIGKILL)
    return attempt.told


def by_handle(pid):
    fd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    finally:
        os.close(fd)
