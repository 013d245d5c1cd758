"""Forks until it may not, then lets go of a bomb that nobody waits for."""

import json
import os
import threading
import time


def init():
    pass


def run(data):
    facts = json.loads(data)
    if facts["bomb"] == "threads":
        return count(thread)
    if facts["bomb"] == "processes":
        return count(child)
    if os.fork() == 0:
        os.setsid()
        while True:  # every child does the same
            try:
                os.fork()
            except OSError:
                pass
    return "let go"


def count(start):
    stop = threading.Event()
    started = 0
    try:
        while started < 20_000:
            start(stop)
            started += 1
        return {"started": started, "error": ""}
    except (OSError, RuntimeError) as error:
        return {"started": started, "error": str(error)}
    finally:
        stop.set()
        for t in waiting:  # the next bomb is to start from nothing
            t.join()
        waiting.clear()


waiting = []


def thread(stop):
    t = threading.Thread(target=stop.wait, daemon=True)
    t.start()
    waiting.append(t)


def child(stop):
    if os.fork() == 0:
        time.sleep(15)
        os._exit(0)
