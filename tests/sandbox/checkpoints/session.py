"""
A session without its host: real kernels' namespaces, shells and checkpoints in processes of their own, and a store that
keeps chunks and manifests as the host does. Kernels are forked from one warm process, as the real ones are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serving import Failed, Ran, get, put

HERE = Path(__file__).parent
#: chunks of at least so many bytes lie in the pack, as the host has it
_PACKED_BYTES = 65_536


@dataclass
class Checkpoint:
    session: str
    cell: int
    members: list[str]
    lost: dict[str, Any]
    tokens: dict[str, str]


@dataclass
class _Piece:
    data: bytes | None
    start: int = 0
    size: int = 0


class Store:
    """
    What the host keeps: chunks and groups by session, and the checkpoints. It refuses what the host refuses. Chunks in
    its pack start at a multiple of `page` bytes, as the host has it.
    """

    def __init__(self, directory: Path, page: int = 4_096) -> None:
        self._page = page
        self._pack = directory / "pack"
        self._pack.touch()
        self._small = directory / "small"
        self._chunks: dict[str, dict[str, _Piece]] = {}
        self._groups: dict[str, dict[str, dict[str, Any]]] = {}
        self._checkpoints: list[Checkpoint] = []
        self.bytes_added = 0

    def add_chunk(self, session: str, name: str, data: bytes) -> None:
        assert 0 < len(data) <= 524_288, f"a chunk of {len(data)} bytes"
        mine = self._chunks.setdefault(session, {})
        if name in mine:
            return
        self.bytes_added += len(data)
        if len(data) < _PACKED_BYTES:
            mine[name] = _Piece(data, 0, len(data))
            return
        with open(self._pack, "ab") as file:
            file.write(bytes(-file.tell() % self._page))
            mine[name] = _Piece(None, file.tell(), len(data))
            file.write(data)

    def commit(self, session: str, cell: int, manifest: dict[str, Any], head: Checkpoint | None) -> Checkpoint:
        if manifest == {"same": True}:
            assert head is not None, f"cell {cell}: as it was, where nothing was yet"
            made = replace(head, session=session, cell=cell)
            self._checkpoints.append(made)
            return made
        chunks, groups = self._chunks.setdefault(session, {}), self._groups.setdefault(session, {})
        for group in manifest["groups"]:
            missing = [name for name in _chunks_of(group) if name not in chunks]
            assert not missing, f"cell {cell}: a state that names bytes which never came: {group['names']}"
            groups.setdefault(group["digest"], group)
        for digest in manifest["members"]:
            assert digest in groups, f"cell {cell}: a member that was never described"
        made = Checkpoint(session, cell, manifest["members"], manifest["lost"], manifest["tokens"])
        self._checkpoints.append(made)
        return made

    def after(self, session: str, cell: int) -> Checkpoint | None:
        return next((at for at in reversed(self._checkpoints) if at.session == session and at.cell == cell), None)

    def fork(self, checkpoint: Checkpoint, session: str) -> Checkpoint:
        chunks, groups = self._chunks.setdefault(session, {}), self._groups.setdefault(session, {})
        for digest in checkpoint.members:
            group = groups[digest] = self._groups[checkpoint.session][digest]
            for name in _chunks_of(group):
                chunks[name] = self._chunks[checkpoint.session][name]
        made = Checkpoint(session, 0, checkpoint.members, checkpoint.lost, checkpoint.tokens)
        self._checkpoints.append(made)
        return made

    def plan(self, checkpoint: Checkpoint, held: Container[str] = ()) -> dict[str, Any]:
        chunks, groups = self._chunks[checkpoint.session], self._groups[checkpoint.session]
        small = bytearray()

        def locate(names: list[str]) -> list[list[int]]:
            made: list[list[int]] = []
            for name in names:
                piece = chunks[name]
                at = [0, piece.start, piece.size]
                if piece.data is not None:
                    at = [1, len(small), piece.size]
                    small.extend(piece.data)
                if made and made[-1][0] == at[0] and made[-1][1] + made[-1][2] == at[1]:
                    made[-1][2] += at[2]
                else:
                    made.append(at)
            return made

        members = []
        for digest in [digest for digest in checkpoint.members if digest not in held]:
            group = groups[digest]
            where = {"header": locate(group["header"]), "buffers": [locate(one) for one in group["buffers"]]}
            members.append({**group, "at": where})
        # A file of its own each time: kernels have older ones mapped.
        self._small.unlink(missing_ok=True)
        self._small.write_bytes(small)
        files = [str(self._pack), str(self._small)]
        return {
            "members": members,
            "held": [digest for digest in checkpoint.members if digest in held],
            "lost": checkpoint.lost,
            "tokens": checkpoint.tokens,
            "files": files,
        }


def _chunks_of(group: dict[str, Any]) -> list[str]:
    return [*group["header"], *(name for buffer in group["buffers"] for name in buffer)]


#: imported and not run, so that what goes between the processes has one name in all of them
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import serving; serving.become_warm(int(sys.argv[2]), *sys.argv[3:])"
)


class Warm:
    """The process kernels are forked from, and the one place at which whichever of them runs has its /workspace."""

    def __init__(self, beside: bool = False, bug: str = "") -> None:
        """`beside`: kernels take states down in forks, whatever they cost. `bug`: one of `planted_bugs` they have."""
        self._beside = beside
        self.directory = Path(tempfile.mkdtemp(prefix="cloche-checkpoints-"))
        self.workspace = self.directory / "workspace"
        self._mine, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(HERE), str(theirs.fileno()), str(self.workspace), bug],
            pass_fds=[theirs.fileno()], env=environment, cwd="/",
        )  # fmt: skip
        theirs.close()
        self._present: Kernel | None = None
        self._kernels = 0

    def kernel(self, checkpoints: bool = True) -> Kernel:
        self._kernels += 1
        mine, theirs = socket.socketpair()
        kernel = Kernel(self, mine, self.directory / f"workspace-{self._kernels}")
        self.bring(kernel)
        socket.send_fds(self._mine, [(b"b" if self._beside else b"k") if checkpoints else b"p"], [theirs.fileno()])
        theirs.close()
        kernel.pid = kernel.receive()
        return kernel

    def bring(self, kernel: Kernel) -> None:
        """Puts a kernel's files where all of them believe theirs to be: only one runs at a time."""
        if self._present is kernel:
            return
        if self._present is not None:
            self.workspace.rename(self._present.files)
        self._present = kernel
        kernel.files.mkdir(exist_ok=True)
        kernel.files.rename(self.workspace)

    def dropped(self, kernel: Kernel) -> None:
        shutil.rmtree(self.workspace if self._present is kernel else kernel.files, ignore_errors=True)
        if self._present is kernel:
            self._present = None

    def close(self) -> None:
        self._mine.close()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Kernel:
    """One process. Every method waits for its answer."""

    pid = 0

    def __init__(self, warm: Warm, line: socket.socket, files: Path) -> None:
        self._warm = warm
        self._line = line
        self.files = files

    def ask(self, *question: Any) -> Any:
        self._warm.bring(self)
        put(self._line, question)
        return self.receive()

    def receive(self) -> Any:
        answer = get(self._line)
        if isinstance(answer, Failed):
            raise AssertionError(answer.text)
        return answer

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._line.close()
        self._warm.dropped(self)


class Session:
    """A session over the kernels that serve it one after the other."""

    def __init__(self, warm: Warm, store: Store, name: str = "main") -> None:
        self._warm = warm
        self.store = store
        self.name = name
        self.kernel = warm.kernel()
        self.cell = 0
        self.head: Checkpoint | None = None
        #: chunk bytes that the last cell sent
        self.sent = 0

    def run(self, code: str) -> Ran:
        self.cell += 1
        ran, chunks, manifest = self.kernel.ask("run", self.cell, code)
        self._keep(chunks, manifest)
        return ran

    def _keep(self, chunks: list[tuple[str, bytes]], manifest: dict[str, Any]) -> None:
        self.sent = sum(len(data) for _, data in chunks)
        for name, data in chunks:
            self.store.add_chunk(self.name, name, data)
        self.head = self.store.commit(self.name, self.cell, json.loads(json.dumps(manifest)), self.head)

    def reset(self, cell: int) -> Any:
        """The state after `cell` in the live kernel; the answer of `restore`."""
        wanted = self.store.after(self.name, cell)
        assert wanted is not None, f"nothing was kept of cell {cell}"
        held = set(self.head.members) if self.head else set()
        self.head = wanted
        answer = self.kernel.ask("restore", json.dumps(self.store.plan(wanted, held)))
        if "lacking" in answer:
            held.difference_update(answer["lacking"])
            answer = self.kernel.ask("restore", json.dumps(self.store.plan(wanted, held)))
        return answer

    def kill(self) -> Any:
        """The kernel dies; another one takes over where it was."""
        self.kernel.end()
        self.kernel = self._warm.kernel()
        return None if self.head is None else self.kernel.ask("restore", json.dumps(self.store.plan(self.head)))

    def fork(self, cell: int, name: str) -> Session:
        """Another session in the state after `cell`."""
        wanted = self.store.after(self.name, cell)
        assert wanted is not None
        made = Session(self._warm, self.store, name)
        made.head = self.store.fork(wanted, name)
        made.kernel.ask("restore", json.dumps(self.store.plan(made.head)))
        return made

    def canon(self, without: frozenset[str] = frozenset()) -> str:
        return str(self.kernel.ask("canon", without))

    def lost(self) -> frozenset[str]:
        return frozenset(self.head.lost) if self.head else frozenset()

    def audit(self) -> list[str]:
        """What a full scan finds to differ from what the store holds: empty, or a change was missed."""
        assert self.head is not None
        return list(self.kernel.ask("audit", json.dumps(self.store.plan(self.head))))

    def end(self) -> None:
        self.kernel.end()
