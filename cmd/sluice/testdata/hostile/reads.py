"""Reads what is not its own: keys, the store, neighbours, other processes."""

import json
import os
import sqlite3

from attempts import Attempts, read, syscall

SECRETS = [
    "admin.json",
    "seal.key",
    "ca-key.pem",
    "sluice.db",
    "sluice.db-wal",
    "sluice.yml",
    "run/state.json",
    "run/parent.lock",
    "logs/server.log",
    "environments/interpreters.json",
]
FOLDERS = [
    "artifacts",
    "instances",
    "routes",
    "logs",
    "run",
    "environments/locks",
    "environments/logs",
]


def init():
    pass


def run(data):
    facts = json.loads(data)
    home = facts["home"]
    attempt = Attempts(facts["mode"])
    for name in SECRETS:
        attempt(f"read {name}", lambda: read(f"{home}/{name}"), "ENOENT", "EACCES")
    for name in FOLDERS:
        attempt(f"list {name}", lambda: os.listdir(f"{home}/{name}"), "ENOENT", "EACCES")
    attempt(
        "open the store",
        lambda: sqlite3.connect(f"file:{home}/sluice.db?mode=rw", uri=True)
        .execute("select 1 from sqlite_master")
        .fetchall(),
        "OperationalError: unable to open database file",
        "OperationalError: unable to open database file",
    )
    attempt("read /etc/shadow", lambda: read("/etc/shadow"), "ENOENT", "EACCES")
    for path in facts["homes"]:
        attempt(f"list {path}", lambda: os.listdir(path), "ENOENT", ["EACCES", "ENOENT"])
    neighbour(attempt, facts["victim"])
    for who, pid in facts["processes"].items():
        process(attempt, who, pid)
    attempt(
        "see more of the machine than its own",
        lambda: strangers(facts),
        "LookupError: nothing",
        "LookupError: nothing",
    )
    return attempt.told


def neighbour(attempt, victim):
    for name in ["", "/root", "/run", "/log", "/scratch"]:
        attempt(
            f"list a neighbour's folder{name}",
            lambda: os.listdir(victim["dir"] + name),
            "ENOENT",
            ["EACCES", "ENOENT"],
        )
    for name in [
        "copy.json",
        "spec.json",
        "template.json",
        "state.json",
        "log/000001.log",
        "root/var/azureml-app/src/victim.py",
    ]:
        attempt(
            f"read a neighbour's {name}",
            lambda: read(f"{victim['dir']}/{name}"),
            "ENOENT",
            "EACCES",
        )


PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS_PTRACE, SYS_PROCESS_VM_READV, SYS_KCMP, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = (
    101,
    310,
    312,
    434,
    438,
)


def process(attempt, who, pid):
    # The first of its own process table is there, and is root's.
    unseen = "EACCES" if who == "its own shim" else "ENOENT"
    for name in [
        "environ",
        "mem",
        "maps",
        "auxv",
        "root/etc/hostname",
        "cwd/spec.json",
        "map_files",
        "fd/3",
    ]:
        attempt(
            f"read {name} of {who}",
            lambda: read(f"/proc/{pid}/{name}"),
            [unseen, "EISDIR" if name == "map_files" and unseen == "EACCES" else unseen],
            ["EACCES", "ENOENT"],
        )
    attempt(f"list fd of {who}", lambda: os.listdir(f"/proc/{pid}/fd"), unseen, "EACCES")
    attempt(f"follow cwd of {who}", lambda: os.listdir(f"/proc/{pid}/cwd/"), unseen, "EACCES")
    attempt(
        f"attach to {who}", lambda: syscall(SYS_PTRACE, PTRACE_ATTACH, pid, 0, 0), "EPERM", "EPERM"
    )
    attempt(f"seize {who}", lambda: syscall(SYS_PTRACE, PTRACE_SEIZE, pid, 0, 0), "EPERM", "EPERM")
    attempt(
        f"read memory of {who}",
        lambda: syscall(SYS_PROCESS_VM_READV, pid, 0, 0, 0, 0, 0),
        "EPERM",
        "EPERM",
    )
    attempt(
        f"compare with {who}",
        lambda: syscall(SYS_KCMP, os.getpid(), pid, 0, 0, 0),
        "EPERM",
        "EPERM",
    )
    attempt(f"take a descriptor of {who}", lambda: steal(pid), ["EPERM", "ESRCH"], "EPERM")


def steal(pid):
    fd = syscall(SYS_PIDFD_OPEN, pid, 0)
    try:
        return syscall(SYS_PIDFD_GETFD, fd, 3, 0)
    finally:
        os.close(fd)


def strangers(facts):
    """Every name that can be listed, in places where only its own should be."""
    seen = []
    for top in {
        "/",
        os.path.dirname(facts["home"]),
        facts["home"],
        "/var",
        "/var/azureml-app",
        "/home",
        "/root",
        "/tmp",
        "/var/tmp",
        "/opt",
        "/mnt",
        "/srv",
        "/run",
    }:
        for folder, _, files in os.walk(top):
            if folder.startswith(
                ("/proc", "/usr", "/sys", "/lib", "/nix", "/etc", "/dev", sys_environment(facts))
            ) or own(folder):
                continue
            seen += [f"{folder}/{name}" for name in files if not known(f"{folder}/{name}", facts)]
    if seen:
        return seen[:20]
    raise LookupError("nothing")


def sys_environment(facts):
    return facts["home"] + "/environments/envs/"


def own(folder):
    return (
        folder.startswith(
            ("/var/azureml-app/src", "/var/azureml-app/azureml-models", os.environ["HOME"])
        )
        or "/lib/python" in folder
        or "/.pyenv/" in folder
    )


def known(path, facts):
    return (
        path == facts["runner"]
        or os.path.realpath(path).startswith("/usr/")
        or path == f"/var{facts['runner']}"
    )  # the place it is shown over, empty
