"""
What an attack is and how one runs: in a process of its own, with a deadline, and with its outcome in words.

An attack returns what it brought home. It raises OSError when the system refused it, `Stopped` when it found nothing,
and `Absent` when this machine lacks what it needs.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: seconds one attack may take
DEADLINE = 15.0


class Stopped(Exception):
    """Nothing was refused, and nothing was there to take."""


class Absent(Exception):
    """This machine has not what the attack goes for."""


@dataclass(frozen=True)
class Target:
    """What is attacked. Paths and pids are the ones that whoever runs the attack would use."""

    inside: bool
    #: secret text that stands in every canary: files, environment, memory, what listeners answer
    token: str
    #: addresses the host listens on: "tcp", "tcp6", "udp" (ports), "abstract", "socket", "engine" (paths)
    listeners: dict[str, Any]
    #: files of the host that hold the token: "project", "home", "tmp", "state", "session", "shadow"
    files: dict[str, str]
    #: processes of the host: "server", "session" (of another session), "supervisor" (of this one)
    pids: dict[str, int]
    #: this session's staging directory, or outside a writable stand-in for it
    staging: str
    #: a directory that may be written to
    writable: str
    #: a program that sleeps, for whom it may be replaced
    program: str
    #: where walks for canaries start
    roots: list[str]
    #: IPv4 addresses of the host beyond its loopback
    addresses: list[str]
    #: identifiers of the host's System V shared memory and key
    shared_memory: int


Body = Callable[[Target], str]


@dataclass(frozen=True)
class Attack:
    name: str
    #: what stops it, of which any may be met
    stopped_by: tuple[str, ...]
    body: Body


ATTACKS: dict[str, Attack] = {}


def attack(name: str, *stopped_by: str) -> Callable[[Body], Body]:
    """Registers an attack under the sentence that says what it tries."""

    def register(body: Body) -> Body:
        if name in ATTACKS or not stopped_by:
            raise ValueError(f"an attack of the same name, or without evidence: {name}")
        ATTACKS[name] = Attack(name, stopped_by, body)
        return body

    return register


def run(name: str, target: Target) -> dict[str, str]:
    """{"got": what} or {"stopped": by what} or {"absent": why}."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.write(sender, json.dumps(_outcome(ATTACKS[name].body, target)).encode())
        finally:
            os._exit(0)
    os.close(sender)
    try:
        return _await(pid, receiver)
    finally:
        os.close(receiver)


def _outcome(body: Body, target: Target) -> dict[str, str]:
    try:
        return {"got": body(target)[:2_000]}
    except Stopped as error:
        return {"stopped": str(error)}
    except Absent as error:
        return {"absent": str(error)}
    except OSError as error:
        return {"stopped": errno.errorcode.get(error.errno or 0, str(error))}
    except BaseException as error:
        return {"broken": f"{type(error).__name__}: {error}"}


def _await(pid: int, receiver: int) -> dict[str, str]:
    text = b""
    if select.select([receiver], [], [], DEADLINE)[0]:
        text = os.read(receiver, 65_536)
    else:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if text:
        outcome: dict[str, str] = json.loads(text)
        return outcome
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return {"stopped": signal.Signals(os.WTERMSIG(status)).name}
    return {"broken": f"no answer in {DEADLINE} s"}


_libc = ctypes.CDLL(None, use_errno=True)
_ARM = platform.machine() == "aarch64"


def syscall(numbers: tuple[int, int], *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """The call of that number (x86_64, aarch64), without libc's help. Raises OSError; a number below 0 is Absent."""
    number = numbers[_ARM]
    if number < 0:
        raise Absent("this processor's kernels have no such call")
    ctypes.set_errno(0)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    _libc.syscall.restype = ctypes.c_long
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reaches(numbers: tuple[int, int], *arguments: int | bytes, past: tuple[int, ...]) -> str:
    """A call too harmful to let succeed, with bad arguments: an errno of `past` means that it was permitted."""
    try:
        return f"returned {syscall(numbers, *arguments)}"
    except OSError as error:
        if error.errno in past:
            return f"permitted, then {errno.errorcode[error.errno]}"
        raise


def expect_token(text: str, target: Target) -> str:
    """`text` if it holds the secret."""
    if target.token not in text:
        raise Stopped("nothing of the host's")
    return f"the secret in {len(text)} characters"
