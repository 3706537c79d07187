"""
The host that is attacked: listeners that answer with the secret given as the first argument, and a shared memory
segment. Prints where they are as one JSON line, and serves until its standard input ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import socket
import sys
import threading

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from programs.harness import syscall


def _serve(line: socket.socket, answer: bytes) -> None:
    def loop() -> None:
        while True:
            connection, _ = line.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

    threading.Thread(target=loop, daemon=True).start()


def _echo(line: socket.socket, answer: bytes) -> None:
    def loop() -> None:
        while True:
            _, sender = line.recvfrom(100)
            line.sendto(answer, sender)

    threading.Thread(target=loop, daemon=True).start()


def main() -> None:
    answer, path = sys.argv[1].encode(), sys.argv[2]
    tcp = socket.create_server(("", 0))
    _serve(tcp, answer)
    try:
        tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
        _serve(tcp6, answer)
        port6 = tcp6.getsockname()[1]
    except OSError:
        port6 = 0
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    _echo(udp, answer)
    name = f"cloche-host-{secrets.token_hex(6)}"
    for address in ("\0" + name, path):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.bind(address)
        line.listen()
        _serve(line, answer)
    os.chmod(path, 0o666)
    key = 0x434C0000 | secrets.randbits(16)
    segment = syscall((29, 194), key, 4_096, 0o1666)
    listeners = {"tcp": tcp.getsockname()[1], "tcp6": port6, "udp": udp.getsockname()[1], "abstract": name}
    print(json.dumps({"listeners": {**listeners, "socket": path}, "shared_memory": key}), flush=True)
    sys.stdin.read()
    syscall((31, 195), segment, 0, ctypes.create_string_buffer(256))


if __name__ == "__main__":
    main()
