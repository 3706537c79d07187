"""
The warm process every kernel is forked from: the common libraries imported and the shell built, one thread, no state
of the user's. It forks twice, so that the supervisor becomes the kernel's parent and learns how it ended.
"""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_CONTROL = 3
_PR_SET_DUMPABLE = 4


def main() -> None:
    libc = ctypes.CDLL(None)
    # Kernels share this process's memory: none of them may trace or read it.
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    from cloche_kernel import own_builtins

    own_builtins.install(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from cloche_kernel import kernel

    shell = kernel.prepare()
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=_CONTROL)
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 16, 4)
        if len(descriptors) < 4:
            os._exit(0)
        first = os.fork()
        if first == 0:
            if os.fork() != 0:
                os._exit(0)
            control.close()
            libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
            kernel.become(shell, *descriptors)
            os._exit(0)
        os.waitpid(first, 0)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
