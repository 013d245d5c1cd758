"""Asks the kernel for more than it has: rights, limits, namespaces, devices, and
the calls that have been ways out before."""

import ctypes
import json
import mmap
import os
import resource
import threading

from attempts import Attempts, in_child, libc, read, syscall

# By number, for amd64: what is asked is what the kernel hears.
REFUSED = {
    "ptrace": (101, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, b"/tmp"),
    "open_tree": (428, -100, b"/", 1),
    "move_mount": (429, 0, 0, 0, 0, 0),
    "fsopen": (430, b"tmpfs", 0),
    "mount_setattr": (442, 0, 0, 0, 0, 0),
    "unshare user": (272, 0x10000000),
    "unshare mount": (272, 0x20000),
    "unshare pid": (272, 0x20000000),
    "unshare net": (272, 0x40000000),
    "setns": (308, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "name_to_handle_at": (303, -100, b"/", 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, 0, 0, 0),
    "delete_module": (176, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "reboot": (169, 0xFEE1DEAD, 672274793, 0x1234567, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "userfaultfd": (323, 0),
    "add_key": (248, b"user", b"x", b"y", 1, -2),
    "request_key": (249, b"user", b"x", 0, 0),
    "keyctl": (250, 0, -3),
    "io_uring_setup": (425, 8, 0),
    "io_uring_enter": (426, 0, 0, 0, 0, 0, 0),
    "io_uring_register": (427, 0, 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "syslog": (103, 3, 0, 0),
    "acct": (163, 0),
    "settimeofday": (164, 0, 0),
    "clock_settime": (227, 0, 0),
    "sethostname": (170, b"x", 1),
    "setdomainname": (171, b"x", 1),
    "swapon": (167, b"/tmp/x", 0),
    "quotactl": (179, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "clone into a user namespace": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone into a mount namespace": (56, 0x20000 | 17, 0, 0, 0, 0),
    "setuid": (105, 0),
    "setgid": (106, 0),
    "setresuid": (117, 0, 0, 0),
    "setresgid": (119, 0, 0, 0),
    "setgroups": (116, 0, 0),
    "setreuid": (113, 0, 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "vhangup": (153,),
    "nice": (141, 2, 0, -5),
    "sched_setscheduler": (144, 0, 1, ctypes.byref(ctypes.c_int(1))),
    "type into a terminal": (16, 0, 0x5412, b"x"),
}
# As kernels are built, and where root is not even a number.
OTHERWISE = {
    "nice": ["EACCES"],
    "iopl": ["ENOSYS"],
    "ioperm": ["ENOSYS"],
    **{f"set{of}{kind}": ["EINVAL"] for of in ["", "re", "res"] for kind in ["uid", "gid"]},
}
# What a user may do to all that is its own, where the user is shared.
SHARED = {
    "look at memory that is its user's": (29, 1234, 4096, 0o1666),
    "attach to memory that is its user's": (30, 0, 0, 0),
    "remove memory that is its user's": (31, 0, 0, 0),
    "make semaphores that are its user's": (64, 1234, 1, 0o1666),
    "remove semaphores that are its user's": (66, 0, 0, 0, 0),
    "make a queue that is its user's": (68, 1234, 0o1666),
    "make a named queue": (240, b"sluice", 0o102, 0o600, 0),
    "remove a named queue": (241, b"sluice"),
    "watch folders": (294, 0),
    "watch folders as it was once done": (253,),
}
ABSENT = {"clone3": (435, 0, 0), "getpid of x32": (0x40000000 | 39,)}


def init():
    pass


def run(data):
    facts = json.loads(data)
    attempt = Attempts(facts["mode"])
    for what, arguments in REFUSED.items():
        refused = ["EPERM", *OTHERWISE.get(what, [])]
        attempt(
            what,
            lambda: syscall(*arguments),
            refused,
            [*refused, "got 0"] if what == "nice" else refused,
        )
    for what, arguments in ABSENT.items():
        attempt(what, lambda: syscall(*arguments), "ENOSYS", "ENOSYS")
    if facts["mode"] == "landlock":
        for what, arguments in SHARED.items():
            attempt(what, lambda: syscall(*arguments), "ENOSYS", "ENOSYS")
        attempt("signal everybody", lambda: os.kill(-1, 0), "EPERM", "EPERM")
        attempt(
            "keep others off a core",
            lambda: affinity(facts["processes"]["the gateway"]),
            "LookupError: undone",
            "LookupError: undone",
        )
    attempt(
        "a call of 32 bits", lambda: died(old_call), "LookupError: SIGSYS", "LookupError: SIGSYS"
    )
    limits(attempt, facts)
    rights(attempt)
    nodes(attempt)
    threads(attempt)
    return attempt.told


def died(do):
    raise LookupError(in_child(do))


def old_call():
    """int 0x80 with the number of getpid there."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def limits(attempt, facts):
    for name in ["NOFILE", "CORE", "NICE", "RTPRIO"] + (
        ["NPROC"] if facts["processes_bounded"] else []
    ):
        what = getattr(resource, "RLIMIT_" + name)
        now = resource.getrlimit(what)[1]
        attempt(f"raise the limit of {name}", lambda: raise_limit(what, now), "EPERM", "EPERM")
    for who, pid in facts["processes"].items():
        attempt(
            f"bound {who}",
            lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0)),
            ["ESRCH", "EPERM"],
            "EPERM",
        )
        attempt(
            f"slow {who} down", lambda: priority(pid), ["ESRCH", "EPERM"], "LookupError: undone"
        )
    attempt(
        "slow down all of its user",
        lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19)
        if facts["mode"] == "landlock"
        else priority(1),
        "EPERM",
        "got None",
    )


def raise_limit(what, now):
    wanted = (ctypes.c_ulong * 2)(now + 1, now + 1) if now != resource.RLIM_INFINITY else None
    if wanted is None:
        raise OSError(1, "without a bound, and not ours to bound")
    if libc.setrlimit(what, wanted) != 0:
        raise OSError(ctypes.get_errno(), "setrlimit")
    return "raised"


def affinity(pid):
    before = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {min(before)})
    if os.sched_getaffinity(pid) == before:
        raise LookupError("undone")
    return "moved"


def priority(pid):
    before = os.getpriority(os.PRIO_PROCESS, pid)
    os.setpriority(os.PRIO_PROCESS, pid, 19)
    if os.getpriority(os.PRIO_PROCESS, pid) == before:
        raise LookupError("undone")
    return "slower"


PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ, PR_CAP_AMBIENT, PR_GET_SECCOMP, PR_SET_SECUREBITS = (
    39,
    23,
    47,
    21,
    28,
)


def rights(attempt):
    attempt(
        "gain privileges by a program",
        lambda: fact(libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
        "LookupError: 1",
        "LookupError: 1",
    )
    attempt(
        "be without a filter",
        lambda: fact(libc.prctl(PR_GET_SECCOMP)),
        "LookupError: 2",
        "LookupError: 2",
    )
    attempt(
        "raise a capability",
        lambda: checked(libc.prctl(PR_CAP_AMBIENT, 2, 21, 0, 0)),
        "EPERM",
        "EPERM",
    )
    attempt(
        "keep capabilities",
        lambda: checked(libc.prctl(PR_SET_SECUREBITS, 0, 0, 0, 0)),
        "EPERM",
        "EPERM",
    )
    attempt("be given capabilities", capset, "EPERM", "EPERM")


def capset():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    return checked(libc.capset(header, (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))


def fact(value):
    raise LookupError(str(value))


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def nodes(attempt):
    for path in [
        "/dev/sda",
        "/dev/vda",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kmsg",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/net/tun",
        "/dev/loop-control",
        "/dev/console",
    ]:
        attempt(
            f"open {path}",
            lambda: os.close(os.open(path, os.O_RDWR)),
            "ENOENT",
            ["EACCES", "ENOENT"],
        )
    tmp = os.environ["TMPDIR"]
    attempt(
        "make a disk",
        lambda: os.mknod(tmp + "/disk", 0o60600, os.makedev(254, 0)),
        "EPERM",
        ["EPERM", "EACCES"],
    )
    attempt(
        "make the machine's memory",
        lambda: os.mknod(tmp + "/mem", 0o20600, os.makedev(1, 1)),
        "EPERM",
        ["EPERM", "EACCES"],
    )
    for path in [
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/kallsyms",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/iomem",
        "/proc/kpageflags",
        "/proc/slabinfo",
        "/sys/kernel/debug/x",
        "/sys/kernel/security/x",
    ]:
        attempt(
            f"read {path}",
            lambda: something(path),
            ["LookupError: nothing", "EACCES", "EPERM", "ENOENT"],
            ["EACCES", "ENOENT"],
        )


def something(path):
    if read(path) == "0 bytes":
        raise LookupError("nothing")
    return read(path)


def threads(attempt):
    """What every model needs still works."""

    def works():
        started = [threading.Thread(target=int) for _ in range(8)]
        for t in started:
            t.start()
        for t in started:
            t.join()
        raise LookupError(in_child(lambda: None))

    attempt("use threads and children", works, "LookupError: exit 0", "LookupError: exit 0")
