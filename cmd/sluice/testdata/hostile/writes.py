"""Writes where it may only read: its environment, its code, its model, the
interpreter, the system, the kernel's settings, its control group."""

import glob
import json
import os
import sys

from attempts import Attempts, append

# Which of these it is depends on whose the folder is: a link out of a
# read-only tree fails by its border first.
CLOSED = ["EROFS", "EXDEV", "EACCES"]


def init():
    pass


def run(data):
    facts = json.loads(data)
    attempt = Attempts(facts["mode"])
    environment = os.path.dirname(os.path.dirname(sys.executable))
    places = {
        "its environment's settings": f"{environment}/pyvenv.cfg",
        "its environment's interpreter": sys.executable,
        "the real interpreter": os.path.realpath(sys.executable),
        "a module of the standard library": os.__file__,
        "its own code": os.path.realpath(__file__),
        "its own model": os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "weights.txt"),
        "the program beside the model": facts["runner"],
        "a program of the system": "/usr/bin/env",
    }
    for what, path in places.items():
        change(attempt, what, path)
    kernel(attempt)
    groups(attempt)
    for path in [
        "/new",
        "/etc/new",
        "/etc/ld.so.preload",
        "/usr/lib/new",
        "/var/new",
        "/dev/new",
        "/root/new",
    ]:
        attempt(f"make {path}", lambda: append(path), ["EROFS", "ENOENT"], ["EACCES", "ENOENT"])
    attempt(
        "change who the users are", lambda: append("/etc/passwd"), ["EROFS", "EACCES"], "EACCES"
    )
    return attempt.told


def change(attempt, what, path):
    folder = os.path.dirname(path)
    mine = os.path.join(os.environ["TMPDIR"], "mine")
    if not os.path.exists(mine):
        append(mine)
    attempt(f"write to {what}", lambda: append(path), ["EROFS", "EACCES"], "EACCES")
    attempt(
        f"write to {what} by another name",
        lambda: reopen(path),
        ["EROFS", "EACCES"],
        ["EACCES", "ENOENT"],
    )
    attempt(f"shorten {what}", lambda: os.truncate(path, 0), CLOSED, "EACCES")
    attempt(f"remove {what}", lambda: os.unlink(path), CLOSED, "EACCES")
    attempt(f"rename {what}", lambda: os.rename(path, path + ".old"), CLOSED, "EACCES")
    attempt(f"replace {what}", lambda: os.rename(mine, path), CLOSED, ["EXDEV", "EACCES"])
    attempt(
        f"link {what}", lambda: os.link(path, mine + ".link"), CLOSED, ["EXDEV", "EACCES", "EPERM"]
    )
    attempt(f"add beside {what}", lambda: append(folder + "/sitecustomize.py"), CLOSED, "EACCES")
    attempt(f"make a folder beside {what}", lambda: os.mkdir(folder + "/d"), CLOSED, "EACCES")
    attempt(f"make a link beside {what}", lambda: os.symlink("/", folder + "/l"), CLOSED, "EACCES")
    attempt(
        f"mark {what}",
        lambda: os.setxattr(path, "user.x", b"x"),
        "EROFS",
        ["EOPNOTSUPP", "ENOTSUP"],
    )
    # With Landlock these two are answered as if done: see that they are not.
    attempt(
        f"open {what} to all",
        lambda: undone(path, lambda: os.chmod(path, 0o777)),
        "EROFS",
        "LookupError: undone",
    )
    attempt(
        f"date {what} back",
        lambda: undone(path, lambda: os.utime(path, (1, 1))),
        "EROFS",
        "LookupError: undone",
    )


def undone(path, do):
    before = os.stat(path)
    do()
    after = os.stat(path)
    if (before.st_mode, before.st_mtime) == (after.st_mode, after.st_mtime):
        raise LookupError("undone")
    return "changed"


def reopen(path):
    fd = os.open(path, os.O_PATH)
    try:
        return append(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def kernel(attempt):
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/1/oom_score_adj",
        "/proc/irq/default_smp_affinity",
    ]:
        attempt(
            f"write to {path}",
            lambda: append(path, "1"),
            ["EACCES", "EROFS", "ENOENT", "EPERM"],
            ["EACCES", "ENOENT"],
        )
    # It is there, and it is /dev/null.
    attempt(
        "reach sysrq-trigger",
        lambda: nothing("/proc/sysrq-trigger"),
        ["LookupError: nothing", "ENOENT"],
        ["EACCES", "ENOENT"],
    )
    attempt(
        "be spared when memory is short",
        lambda: append("/proc/self/oom_score_adj", "-900"),
        ["EACCES", "EPERM"],
        "EACCES",
    )


def nothing(path):
    with open(path, "w"):
        if os.stat(path).st_rdev == os.makedev(1, 3):
            raise LookupError("nothing")
    return "opened"


def groups(attempt):
    closed = ["EROFS", "EACCES"]
    for folder in glob.glob("/sys/fs/cgroup/**/", recursive=True)[:40] or ["/sys/fs/cgroup/"]:
        for name in [
            "cgroup.procs",
            "memory.max",
            "memory.limit_in_bytes",
            "pids.max",
            "release_agent",
            "notify_on_release",
        ]:
            attempt(
                f"write to {folder}{name}",
                lambda: append(folder + name, "max"),
                [*closed, "ENOENT"],
                ["EACCES", "ENOENT"],
            )
        attempt(
            f"make a group in {folder}",
            lambda: os.mkdir(folder + "mine"),
            [*closed, "ENOENT"],
            ["EACCES", "ENOENT"],
        )
