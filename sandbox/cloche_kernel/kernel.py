"""The session's kernel: a fork of the zygote that runs cells, loads and inspections one after the other."""

from __future__ import annotations

import faulthandler
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

from cloche_kernel import figures, hostcalls, tracebacks
from cloche_kernel.checkpoints.beside import Beside
from cloche_kernel.checkpoints.capture import Checkpoints
from cloche_kernel.checkpoints.default_database import DEFAULT
from cloche_kernel.checkpoints.proof import Proofs
from cloche_kernel.display import Display
from cloche_kernel.forking import BROKEN, OUT_OF_MEMORY
from cloche_kernel.imports import AfterImport
from cloche_kernel.interrupts import Interrupts
from cloche_kernel.line import Line, LineClosed
from cloche_kernel.memory import SessionMemory
from cloche_kernel.repairs import Repairs
from cloche_kernel.reserve import Reserve
from cloche_kernel.shell import Shell, build
from cloche_kernel.streams import Streams, high
from cloche_kernel.variables import Variables

#: a module of multiprocessing is imported when the first process is started without a fork
_STARTS_AFRESH = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver")
_NO_CELL_FUNCTIONS = (
    "Note: processes started by spawn or forkserver cannot find functions and classes of cells, and a Pool then waits "
    "forever. Use multiprocessing.get_context('fork'), or write them to a module (%%writefile) and import it."
)
#: seconds that a look at the variables waits to hear which of them are kept
_SETTLE_SECONDS = 1.0
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


def become(shell: Shell, line: int, output: int, stacks: int, states: int) -> None:
    """Turns this process, fresh from the zygote, into a kernel and serves until the supervisor is gone."""
    # The memory limit should find user code before it finds the supervisor or the zygote.
    _write("/proc/self/oom_score_adj", "500")
    interrupts = Interrupts()
    interrupts.install()
    streams = Streams(output)
    stack_file = os.fdopen(high(stacks), "wb", buffering=0)
    faulthandler.register(signal.SIGUSR2, file=stack_file, all_threads=False)
    faulthandler.enable(file=stack_file, all_threads=False)
    stream = socket.socket(fileno=high(line))
    stream.setblocking(False)
    beside = socket.socket(fileno=high(states))
    cpus = os.environ.pop("CLOCHE_CPUS", "1")
    memory = SessionMemory(int(os.environ.pop("CLOCHE_MEMORY", "0")) or 1 << 62)
    Kernel(shell, Line(stream, interrupts), interrupts, memory, streams, beside).serve(int(cpus))


class Kernel:
    def __init__(
        self,
        shell: Shell,
        line: Line,
        interrupts: Interrupts,
        memory: SessionMemory,
        streams: Streams,
        beside: socket.socket,
    ) -> None:
        self._shell = shell
        self._line = line
        self._interrupts = interrupts
        self._memory = memory
        self._streams = streams
        self._reserve = Reserve()
        self._repairs = Repairs(shell)
        self._display = Display(shell, line)
        shell.display = self._display
        shell.begins = interrupts.begin_code
        figures.connect(self._display)
        hostcalls.connect(line)
        self._proofs = Proofs(shell.user_ns, shell)
        self._state = Checkpoints(
            shell.user_ns,
            lambda: shell.user_ns_hidden,
            shell,
            lambda header, payload: line.send(header, payload),
            self._proofs,
            Beside(beside, line.leave, memory.available, self._proofs.descriptors),
        )
        self._variables = Variables(shell.user_ns, lambda: shell.user_ns_hidden, lambda: self._state.groups.lost())
        # DuckDB would take the machine's memory for its own, and look for extensions on a network that is not there.
        AfterImport("duckdb", self._fit_duckdb).install()
        for module in _STARTS_AFRESH:
            AfterImport(module, lambda: print(_NO_CELL_FUNCTIONS, file=sys.stderr)).install()

    def _fit_duckdb(self) -> None:
        from cloche_kernel.loading import engine

        engine.connection(self._memory)
        DEFAULT.begin()

    def serve(self, cpus: int) -> None:
        version = ".".join(map(str, sys.version_info[:3]))
        # Bound here: a cell can empty this very module.
        leave, closed, out_of_memory, broken = os._exit, LineClosed, OUT_OF_MEMORY, BROKEN
        try:
            self._line.send({"type": "started", "pid": os.getpid(), "python": version})
            self._proofs.begin()
            _settle(cpus)
            self._state.begin()
            while True:
                if self._state.busy and not self._line.requested_before(self._state.fileno()):
                    self._state.settle(0)
                else:
                    self._answer(*self._line.next_request())
        except closed:
            leave(0)
        except MemoryError:
            leave(out_of_memory)
        except BaseException:
            # Code in a cell reached into the kernel itself; where, is nothing a reader could use.
            leave(broken)

    def _answer(self, header: dict[str, Any], payload: bytes) -> None:
        if header["type"] == "execute":
            code = payload.decode("utf-8", "replace")
            self._run_cell(header, code, lambda: self._shell.run(header["cell"], code))
        elif header["type"] == "load":
            request = loads(payload)
            self._run_cell(header, request["name"], lambda: self._load(request))
        elif header["type"] == "restore":
            self._restore(header, loads(payload)["path"])
        elif header["type"] == "recapture":
            self._state.forget()
        else:
            self._inspect(header, loads(payload))

    def _run_cell(self, header: dict[str, Any], code: str, work: Any) -> None:
        """One cell from beginning to `finished`: whatever the work does, exactly one answer goes out."""
        cell = header["id"]
        self._streams.mend()
        self._display.begin(cell)
        hostcalls.begin_cell(cell)
        try:
            failure = self._work(cell, work)
            if mended := self._repairs.put_back_essentials():
                print(_put_back(mended), file=sys.stderr)
            suspect = header["type"] == "load" or self._may_be_unkept(code)
            try:
                self._finish(cell, failure, suspect)
            except LineClosed:
                raise
            except BaseException:
                failure = self._repaired(tracebacks.describe(*sys.exc_info()), everything=True)
                self._finish(cell, failure, suspect)
        finally:
            hostcalls.begin_cell(None)
        self._capture(header["cell"], code if header["type"] == "execute" else None)
        try:
            self._variables.note(header["cell"], code)
        except Exception:
            pass  # knowing which cell changed what is worth less than the session

    def _capture(self, cell: int, code: str | None) -> None:
        """The answer is out: what the cell changed is taken down before the next one can change it again."""
        try:
            self._state.after(cell, code)
        except LineClosed:
            raise
        except BaseException as error:
            # The next cell's state brings everything; this one's is not there, and that is said.
            self._state.forget()
            reason = tracebacks.describe(type(error), error, None).text
            failed = dumps({"failed": reason.strip()[-500:]}).encode("utf-8", "replace")
            self._line.send({"type": "checkpoint", "cell": cell, "last": True}, failed)

    def _work(self, cell: str, work: Any) -> tracebacks.Failure | None:
        """Runs the user's code; what it raised, or None."""
        failure: tracebacks.Failure | None = None
        try:
            with self._interrupts.cell():
                if self._line.withdrawn(cell):
                    raise KeyboardInterrupt
                with self._reserve.kept():
                    failure = work()
                    undrawn = figures.flush()
                if undrawn is not None and failure is None:
                    failure = tracebacks.describe(type(undrawn), undrawn, undrawn.__traceback__)
        except LineClosed:
            raise
        except BaseException:
            # What a cell raises is caught around it: this came from outside of it, or is an interrupt.
            failure = tracebacks.describe(*sys.exc_info())
            if not failure.interrupted:
                failure = self._repaired(failure, everything=True)
        if failure is not None and failure.foreign and not failure.out_of_memory and self._reserve.exhausted():
            failure = tracebacks.out_of_memory()
        if failure is not None and failure.foreign:
            failure = self._repaired(failure, everything=False)
        if failure is not None and failure.out_of_memory:
            self._reserve.tight = True
        return failure

    def _repaired(self, failure: tracebacks.Failure, everything: bool) -> tracebacks.Failure:
        """The failure; where cells had taken what Python needs, that is put back and said."""
        if mended := self._repairs.put_back(everything):
            failure.text += f"\n{_put_back(mended)}"
        return failure

    def _may_be_unkept(self, code: str) -> bool:
        try:
            return self._state.may_lose(code)
        except Exception:
            return True

    def _finish(self, cell: str, failure: tracebacks.Failure | None, suspect: bool) -> None:
        """Sends the cell's end, and nothing of it afterwards. `suspect`: some of what it made may not be kept."""
        end: dict[str, Any] = {"suspect": True} if suspect else {}
        status = "ok"
        if failure is not None:
            status = "interrupted" if failure.interrupted else "error"
            end |= {"error": failure.text, "errorName": failure.name[:200]}
        with self._display.ending() as (left_out, result):
            if left_out:
                end["imagesLeftOut"] = left_out
            text = dumps(end).encode("utf-8", "replace") if end else b"{}"
            self._line.send({"type": "finished", "id": cell, "status": status}, text, result)

    def _load(self, request: dict[str, Any]) -> tracebacks.Failure | None:
        from cloche_kernel import loading

        self._interrupts.begin_code()
        try:
            loaded = loading.load(cast("loading.LoadRequest", request), self._memory)
        except loading.LoadError as error:
            return tracebacks.Failure("LoadError", str(error), False)
        name = request["name"]
        replaced = self._variables.facts(name)
        self._shell.user_ns[name] = loaded.value
        before = f"note: this replaced the variable {name} ({replaced})\n" if replaced else ""
        self._display.text(before + loaded.profile, last=True)
        return None

    def _restore(self, header: dict[str, Any], path: str) -> None:
        from cloche_kernel.checkpoints.restore import Lacking, restore

        try:
            with open(path, encoding="utf-8") as file:
                request = loads(file.read())
            self._state.settle()
            found = restore(request, self._state, self._shell.user_ns, self._shell)
        except Lacking as error:
            answer: dict[str, Any] = {"bound": 0, "failed": {}, "notes": [], "lacking": error.digests[:1_000]}
            self._line.send({"type": "answer", "id": header["id"], "ok": True}, dumps(answer).encode())
            return
        except Exception as error:
            answer = {"text": f"{type(error).__name__}: {str(error)[:300]}"}
            self._line.send({"type": "answer", "id": header["id"], "ok": False}, dumps(answer).encode())
            return
        answer = {
            "bound": len(found.bound),
            "failed": {name: reason[:400] for name, reason in found.failed.items()},
            "notes": [note[:500] for note in found.notes[:100]],
        }
        self._line.send({"type": "answer", "id": header["id"], "ok": True}, dumps(answer).encode())

    def _inspect(self, header: dict[str, Any], request: dict[str, Any]) -> None:
        name, offset = request.get("name"), request.get("offset", 0)
        self._state.settle(_SETTLE_SECONDS)
        if name is None:
            text, ok = self._variables.table(offset), True
        else:
            text, ok = self._variables.detail(name, offset, request["limit"])
        self._line.send({"type": "answer", "id": header["id"], "ok": ok}, dumps({"text": text}).encode())


def _put_back(mended: list[str]) -> str:
    names = ", ".join(mended[:5]) + (f" and {len(mended) - 5} more" if len(mended) > 5 else "")
    return f"Cells had removed or replaced what the session needs to run: {names}. It was put back."


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
