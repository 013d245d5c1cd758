"""Calls what it must not: Sluice's sockets, neighbours, its own scoring socket,
what it may have inherited; and what any stranger may call, as a stranger."""

import ctypes
import fcntl
import json
import os
import socket
import ssl
import stat
import struct
import urllib.error
import urllib.request

from attempts import Attempts, libc

NO_SOCKET = "EAFNOSUPPORT"


def init():
    pass


def run(data):
    facts = json.loads(data)
    attempt = Attempts(facts["mode"])
    for who, path in facts["sockets"].items():
        attempt(f"connect to {who}", lambda: connect(path), "ENOENT", NO_SOCKET)
        attempt(
            f"connect to {who} from its folder",
            lambda: connect_near(path),
            "ENOENT",
            ["EACCES", NO_SOCKET],
        )
        attempt(
            f"send to {who} from a pair",
            lambda: datagram(path),
            ["ENOENT", "EPROTOTYPE"],
            NO_SOCKET,
        )
        for owner, pid in facts["processes"].items():
            if owner != "its own shim":
                attempt(
                    f"connect to {who} through {owner}",
                    lambda: connect(f"/proc/{pid}/root{path}"[-107:]),
                    "ENOENT",
                    NO_SOCKET,
                )
    for name in facts["abstract"]:
        attempt(
            "connect to an abstract socket",
            lambda: connect("\0" + name),
            facts["abstract_outcome"],
            NO_SOCKET,
        )
        attempt(
            "take an abstract name",
            lambda: bind("\0" + name),
            ["EADDRINUSE", "LookupError: only here"],
            NO_SOCKET,
        )
    for where in [os.environ["HOME"], os.environ["TMPDIR"], "/run", "/run/sluice"]:
        attempt(
            f"connect to its own scoring socket in {where}",
            lambda: connect(where + "/http.sock"),
            "ENOENT",
            NO_SOCKET,
        )
    inherited(attempt)
    strangers(attempt, facts)
    families(attempt)
    return attempt.told


def connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(path)
    return "connected"


def connect_near(path):
    here = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        return connect(os.path.basename(path))
    finally:
        os.chdir(here)


def bind(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen(1)
    # The name is free in a network of its own only.
    return "bound"


def datagram(path):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(b"x", path)
    return "sent"


def inherited(attempt):
    """Descriptors of the worker, and as far as can be seen those of its server."""
    for fd in range(3, 256):
        try:
            info = os.fstat(fd)
        except OSError:
            continue
        if stat.S_ISSOCK(info.st_mode):
            attempt(
                f"accept on inherited descriptor {fd}",
                lambda: accepts(fd),
                "LookupError: it does not listen",
                "LookupError: it does not listen",
            )
        elif stat.S_ISREG(info.st_mode) and info.st_nlink > 0:
            attempt(
                f"use inherited file {fd}",
                lambda: own_file(fd),
                "LookupError: its own",
                "LookupError: its own",
            )
        elif stat.S_ISDIR(info.st_mode):
            attempt(
                f"use inherited folder {fd}",
                lambda: os.listdir(fd),
                "LookupError: none",
                "LookupError: none",
            )
    server = os.getppid()
    for name in ["fd", "environ", "mem", "maps", "root"]:
        path = f"/proc/{server}/{name}"
        attempt(
            f"open {name} of its own scoring server",
            lambda: os.listdir(path) if name == "fd" else os.open(path, os.O_RDONLY),
            "EACCES",
            "EACCES",
        )


def accepts(fd):
    with socket.socket(fileno=os.dup(fd)) as s:
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "it listens"
    raise LookupError("it does not listen")


def own_file(fd):
    if (
        os.fstat(fd).st_uid == os.getuid()
        and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    ):
        raise LookupError("its own")
    return os.fstat(fd)


def strangers(attempt, facts):
    for what, url in facts["urls"].items():
        attempt(f"call {what}", lambda: status(url), "LookupError: 401", "LookupError: 401")
        attempt(
            f"call {what} with a guess",
            lambda: status(url, "Bearer guess"),
            "LookupError: 401",
            "LookupError: 401",
        )


def status(url, authorization=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, data=b"{}" if url.endswith("/score") else None)
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        raise LookupError(str(error.code)) from None


AF_TIPC = 30


def families(attempt):
    for name, family in {
        "AF_PACKET": 17,
        "AF_VSOCK": 40,
        "AF_ALG": 38,
        "AF_KEY": 15,
        "AF_BLUETOOTH": 31,
        "AF_CAN": 29,
        "AF_RDS": 21,
        "AF_TIPC": 30,
        "AF_XDP": 44,
    }.items():
        attempt(
            f"make a socket of {name}",
            lambda: socket.socket(family, socket.SOCK_RAW).close(),
            NO_SOCKET,
            NO_SOCKET,
        )
    attempt("make a pair of AF_TIPC", lambda: pair(AF_TIPC), NO_SOCKET, NO_SOCKET)
    attempt(
        "make a raw socket",
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "EPERM",
        "EPERM",
    )
    attempt("take loopback down", link_down, "EPERM", "EPERM")


def pair(family):
    fds = (ctypes.c_int * 2)()
    if libc.socketpair(family, socket.SOCK_SEQPACKET, 0, fds) != 0:
        raise OSError(ctypes.get_errno(), "socketpair")
    return "made"


def link_down():
    RTM_NEWLINK, NLM_F_REQUEST_ACK = 16, 5
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        info = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 1, 0, 1)  # device 1, flags without "up"
        s.send(struct.pack("=IHHII", 16 + len(info), RTM_NEWLINK, NLM_F_REQUEST_ACK, 1, 0) + info)
        code = struct.unpack_from("=i", s.recv(4096), 16)[0]
    if code:
        raise OSError(-code, "netlink")
    return "down"
