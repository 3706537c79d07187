"""The session's kernel: a fork of the zygote that runs cells, loads and inspections one after the other."""

from __future__ import annotations

import ctypes
import faulthandler
import io
import os
import shutil
import signal
import socket
import sys
import warnings

# Bound here, so that a cell that replaces `json.dumps` does not replace ours.
from json import dumps, loads
from typing import Any, cast

import threadpoolctl

from cloche_kernel import display as rendering
from cloche_kernel import figures, hostcalls, tracebacks
from cloche_kernel.display import Display
from cloche_kernel.imports import AfterImport
from cloche_kernel.interrupts import Interrupts
from cloche_kernel.line import Line, LineClosed
from cloche_kernel.memory import SessionMemory
from cloche_kernel.shell import Shell, build
from cloche_kernel.variables import Variables

#: descriptors of the protocol live above this, out of the way of what user code opens and closes
_FIRST_OWN_DESCRIPTOR = 200
_IOLBF = 1
_F_DUPFD_CLOEXEC = 1030
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMEXPR_MAX_THREADS")


#: the thread pools of the libraries that the zygote imported, found once
_pools: Any = None


def prepare() -> Shell:
    """Everything a kernel needs that can be done once: imports, the shell, display options."""
    _bring_font_list()
    import matplotlib
    import matplotlib.pyplot
    import numpy  # noqa: F401
    import pandas

    import cloche

    matplotlib.rcParams["figure.dpi"] = 100
    pandas.set_option("display.width", 160)
    pandas.set_option("display.max_columns", 30)
    pandas.set_option("display.max_colwidth", 80)
    cloche.install()
    global _pools
    _pools = threadpoolctl.ThreadpoolController()
    return build()


def _bring_font_list() -> None:
    """Copies the list that setup baked to where matplotlib looks: without it, it searches all fonts for a second."""
    baked = os.path.join(sys.prefix, "share/cloche/matplotlib")
    try:
        os.makedirs(os.environ["MPLCONFIGDIR"], exist_ok=True)
        for name in os.listdir(baked):
            shutil.copy(os.path.join(baked, name), os.environ["MPLCONFIGDIR"])
    except OSError:
        pass  # matplotlib makes its own


def become(shell: Shell, line: int, output: int, stacks: int) -> None:
    """Turns this process, fresh from the zygote, into a kernel and serves until the supervisor is gone."""
    # The memory limit should find user code before it finds the supervisor or the zygote.
    _write("/proc/self/oom_score_adj", "500")
    interrupts = Interrupts()
    interrupts.install()
    _own_streams(output)
    stack_file = os.fdopen(_high(stacks), "wb", buffering=0)
    faulthandler.register(signal.SIGUSR2, file=stack_file, all_threads=False)
    faulthandler.enable(file=2, all_threads=False)
    stream = socket.socket(fileno=_high(line))
    stream.setblocking(False)
    cpus = os.environ.pop("CLOCHE_CPUS", "1")
    memory = SessionMemory(int(os.environ.pop("CLOCHE_MEMORY", "0")) or 1 << 62)
    Kernel(shell, Line(stream, interrupts), interrupts, memory).serve(int(cpus))


class Kernel:
    def __init__(self, shell: Shell, line: Line, interrupts: Interrupts, memory: SessionMemory) -> None:
        self._shell = shell
        self._line = line
        self._interrupts = interrupts
        self._memory = memory
        self._display = Display(shell, line)
        shell.display = self._display
        figures.connect(self._display)
        hostcalls.connect(line)
        self._variables = Variables(shell.user_ns, lambda: shell.user_ns_hidden)
        # DuckDB would take the machine's memory for its own, and look for extensions on a network that is not there.
        AfterImport("duckdb", self._fit_duckdb).install()

    def _fit_duckdb(self) -> None:
        from cloche_kernel.loading import engine

        engine.connection(self._memory)

    def serve(self, cpus: int) -> None:
        version = ".".join(map(str, sys.version_info[:3]))
        try:
            self._line.send({"type": "started", "pid": os.getpid(), "python": version})
            _settle(cpus)
            while True:
                self._answer(*self._line.next_request())
        except LineClosed:
            os._exit(0)

    def _answer(self, header: dict[str, Any], payload: bytes) -> None:
        if header["type"] == "execute":
            code = payload.decode("utf-8", "replace")
            self._run_cell(header, code, lambda: self._shell.run(header["cell"], code))
        elif header["type"] == "load":
            request = loads(payload)
            self._run_cell(header, request["name"], lambda: self._load(request))
        else:
            self._inspect(header, loads(payload))

    def _run_cell(self, header: dict[str, Any], code: str, work: Any) -> None:
        """One cell from beginning to `finished`: whatever the work does, exactly one answer goes out."""
        cell = header["id"]
        self._display.begin(cell)
        hostcalls.begin_cell(cell)
        failure: tracebacks.Failure | None = None
        try:
            try:
                with self._interrupts.cell():
                    if self._line.withdrawn(cell):
                        raise KeyboardInterrupt
                    failure = work()
                    undrawn = figures.flush()
                    if undrawn is not None and failure is None:
                        failure = tracebacks.describe(type(undrawn), undrawn, undrawn.__traceback__)
            except LineClosed:
                raise
            except BaseException:
                failure = tracebacks.describe(*sys.exc_info())
            end: dict[str, Any] = {}
            status = "ok"
            if failure is not None:
                status = "interrupted" if failure.interrupted else "error"
                end = {"error": failure.text, "errorName": failure.name[:200]}
            with self._display.ending() as left_out:
                if left_out:
                    end["imagesLeftOut"] = left_out
                rendering.flush_streams()
                text = dumps(end).encode("utf-8", "replace") if end else b"{}"
                self._line.send({"type": "finished", "id": cell, "status": status}, text)
        finally:
            hostcalls.begin_cell(None)
        try:
            self._variables.note(header["cell"], code)
        except Exception:
            pass  # knowing which cell changed what is worth less than the session

    def _load(self, request: dict[str, Any]) -> tracebacks.Failure | None:
        from cloche_kernel import loading

        try:
            loaded = loading.load(cast("loading.LoadRequest", request), self._memory)
        except loading.LoadError as error:
            return tracebacks.Failure("LoadError", str(error), False)
        name = request["name"]
        replaced = self._variables.facts(name)
        self._shell.user_ns[name] = loaded.value
        before = f"note: this replaced the variable {name} ({replaced})\n" if replaced else ""
        self._display.text(before + loaded.profile)
        return None

    def _inspect(self, header: dict[str, Any], request: dict[str, Any]) -> None:
        name, offset = request.get("name"), request.get("offset", 0)
        if name is None:
            text, ok = self._variables.table(offset), True
        else:
            text, ok = self._variables.detail(name, offset, request["limit"])
        self._line.send({"type": "answer", "id": header["id"], "ok": ok}, dumps({"text": text}).encode())


def _own_streams(output: int) -> None:
    """Descriptors 0, 1 and 2 and Python's streams over them; C code's stdout goes out line by line too."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = _writer(1)
    sys.stderr = _writer(2)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _IOLBF, 0)


def _writer(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), 65_536)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _high(descriptor: int) -> int:
    import fcntl

    high = fcntl.fcntl(descriptor, _F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    os.close(descriptor)
    return high


def _settle(cpus: int) -> None:
    """What a kernel does once it is announced and nobody waits: fresh randomness, thread pools, import path."""
    import numpy

    numpy.random.seed(None)
    for name in _THREADS:
        os.environ[name] = str(cpus)
    os.environ.pop("PYTHONIOENCODING", None)
    sys.path.insert(0, "")
    warnings.filterwarnings("ignore", message=".*use of fork\\(\\) may lead to deadlocks.*")
    _pools.limit(limits=cpus)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        pass
