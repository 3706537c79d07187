"""A kernel of the tests: shell, namespace and checkpoints in a process of their own that is asked over a socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass
class Ran:
    """What a cell printed, and the name of what it raised. `seconds`: what its checkpoint took."""

    output: str
    error: str
    seconds: float = 0.0


@dataclass
class Failed:
    text: str


def put(line: socket.socket, message: Any) -> None:
    data = pickle.dumps(message, protocol=5)
    line.sendall(struct.pack("<Q", len(data)) + data)


def get(line: socket.socket) -> Any:
    size = struct.unpack("<Q", _exactly(line, 8))[0]
    return pickle.loads(_exactly(line, size))


def _exactly(line: socket.socket, size: int) -> bytes:
    made = bytearray()
    while len(made) < size:
        part = line.recv(min(1 << 20, size - len(made)))
        if not part:
            raise AssertionError("the kernel died")
        made += part
    return bytes(made)


class Serving:
    """The other side of `Kernel`: the shell, the namespace and its checkpoints."""

    def __init__(self, line: socket.socket, shell: Any, root: str, kind: bytes) -> None:
        from cloche_kernel.checkpoints import files, workspace
        from cloche_kernel.checkpoints.capture import Checkpoints

        files.KEPT = (root + "/",)  # type: ignore[assignment]
        workspace.ROOT = root
        for name in ("look", "read", "put_back"):
            getattr(workspace, name).__defaults__ = (root,)
        sys.dont_write_bytecode = True
        os.chdir(root)
        sys.path.insert(0, "")
        import random

        import numpy

        random.seed(7)
        numpy.random.seed(7)
        self._line = line
        self._shell = shell
        self._chunks: list[tuple[str, bytes]] = []
        self._state: Checkpoints | None = None
        #: cells whose state a fork did not bring
        self.uncaptured: list[int] = []
        if kind != b"p":
            beside = self._open_beside() if kind == b"b" else None
            self._state = Checkpoints(shell.user_ns, lambda: shell.user_ns_hidden, shell, self._send, None, beside)
            self._state.begin()

    def _open_beside(self) -> Any:
        """Forks for every state that has anything new."""
        from cloche_kernel import state_line
        from cloche_kernel.checkpoints.beside import Beside
        from cloche_kernel.checkpoints.capture import Checkpoints

        self._states, theirs = state_line.pair()
        Checkpoints._parts = lambda *_: None  # type: ignore[method-assign]
        return Beside(theirs, self._line.close, lambda: 1 << 50, list)

    def _send(self, header: dict[str, Any], payload: Any) -> None:
        if header["type"] == "chunk":
            self._chunks.append((header["name"], bytes(payload)))
        elif header["type"] == "uncaptured":
            self.uncaptured.append(header["cell"])

    def serve(self) -> None:
        put(self._line, os.getpid())
        while True:
            question, *arguments = get(self._line)
            try:
                answer = getattr(self, question)(*arguments)
            except BaseException as error:
                import traceback

                answer = Failed(f"{type(error).__name__}: {error}\n{traceback.format_exc()[-3000:]}")
            put(self._line, answer)

    def run(self, cell: int, code: str) -> Any:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            failure = self._shell.run(cell, code)
        ran = Ran(out.getvalue(), failure.name if failure else "")
        if self._state is None:
            return ran, [], {}
        start = time.perf_counter()
        chunks, manifest = self.capture(cell, code)
        ran.seconds = time.perf_counter() - start
        return ran, chunks, manifest

    def _from_fork(self, most: int) -> dict[str, Any]:
        """The manifest that the fork sends; {} where `most` messages do not bring it."""
        from cloche_kernel.frames import FrameReader

        text = b""
        for _ in range(most):
            [(header, payload, _)] = FrameReader().push(self._states.recv(1 << 20))
            if header["type"] == "chunk":
                self._chunks.append((header["name"], payload))
            else:
                text += payload
                if header["last"]:
                    return dict(json.loads(text))
        return {}

    def just_run(self, cell: int, code: str) -> None:
        self._shell.run(cell, code)

    def capture(self, cell: int, code: str) -> Any:
        """What `run` does after a cell that `just_run` ran."""
        assert self._state is not None
        manifest = self._state.after(cell, code)
        if self._state.busy:
            manifest = self._from_fork(1 << 30)
            self._state.settle()
        chunks, self._chunks = self._chunks, []
        return chunks, manifest

    def begin_beside(self, cell: int, code: str) -> bool:
        """Runs a cell, and answers while a fork takes its state down: whether one does."""
        assert self._state is not None
        self._shell.run(cell, code)
        self._state.after(cell, code)
        return self._state.busy

    def end_beside(self, most: int, signal_it: int) -> Any:
        """
        Hears at most `most` messages of the fork, and signals it; hears the rest where it then ends by itself: (chunks,
        manifest, cells it did not bring).
        """
        assert self._state is not None and self._state._beside is not None
        manifest = self._from_fork(most)
        if signal_it:
            os.kill(self._state._beside._pid, signal_it)
        self._state.settle()
        if signal_it == signal.SIGSTOP:
            manifest = self._from_fork(1 << 30)
        chunks, self._chunks = self._chunks, []
        return chunks, manifest, self.uncaptured

    def restore(self, request: str) -> Any:
        from cloche_kernel.checkpoints.restore import Lacking, restore

        assert self._state is not None
        try:
            found = restore(json.loads(request), self._state, self._shell.user_ns, self._shell)
        except Lacking as error:
            return {"lacking": error.digests}
        return {"bound": found.bound, "failed": found.failed, "notes": found.notes}

    def forget(self) -> None:
        """The host has nothing any more."""
        assert self._state is not None
        self._state.forget()

    def bind_placeholders(self, names: list[str]) -> None:
        from cloche_kernel.checkpoints.placeholder import Placeholder

        for name in names:
            self._shell.user_ns[name] = Placeholder(name)

    def placeholders(self) -> list[str]:
        return [name for name, value in self._visible().items() if type(value).__name__ == "Placeholder"]

    def _visible(self) -> dict[str, Any]:
        from cloche_kernel.checkpoints.capture import Checkpoints

        shell = self._shell
        state = self._state or Checkpoints(shell.user_ns, lambda: shell.user_ns_hidden, shell, lambda *_: None)
        return state.visible()

    def canon(self, without: frozenset[str]) -> str:
        import canon

        variables = {name: value for name, value in self._visible().items() if name not in without}
        return canon.canon(variables, self._shell.user_ns)

    def audit(self, request: str) -> list[str]:
        import canon

        assert self._state is not None
        return canon.differences(self._state, json.loads(request), self._shell)


def become_warm(control: int, root: str, bug: str) -> None:
    sys.path.insert(0, str(next(path for path in _homes_of_the_kernel() if path.is_dir())))
    import gc

    import numpy  # noqa: F401
    import pandas  # noqa: F401

    from cloche_kernel.shell import build

    if bug:
        import planted_bugs

        getattr(planted_bugs, bug)()
    shell = build()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    line = socket.socket(fileno=control)
    while True:
        kind, descriptors, _, _ = socket.recv_fds(line, 16, 1)
        if not descriptors:
            return
        if os.fork() == 0:
            line.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                Serving(socket.socket(fileno=descriptors[0]), shell, root, kind).serve()
            finally:
                os._exit(1)
        os.close(descriptors[0])


def _homes_of_the_kernel() -> list[Path]:
    return [HERE.parents[2] / "sandbox", Path("/opt/cloche/lib")]
