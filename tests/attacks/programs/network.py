"""Ways to the network: every family and kind of socket, names, and listeners of the host that have no port."""

from __future__ import annotations

import errno
import socket

from .harness import Absent, Stopped, Target, attack, expect_token

_TIMEOUT = 3.0


def _talk(family: int, kind: int, address: object, target: Target) -> str:
    with socket.socket(family, kind) as line:
        line.settimeout(_TIMEOUT)
        line.connect(address)  # type: ignore[arg-type]
        line.send(b"hello\n")
        return expect_token(line.recv(4_096).decode(errors="replace"), target)


@attack("TCP to a listener on the host's loopback", "ECONNREFUSED")
def tcp(target: Target) -> str:
    return _talk(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", target.listeners["tcp"]), target)


@attack("TCP over IPv6 to a listener on the host's loopback", "ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH")
def tcp6(target: Target) -> str:
    if not target.listeners["tcp6"]:
        raise Absent("this machine has no IPv6 loopback")
    return _talk(socket.AF_INET6, socket.SOCK_STREAM, ("::1", target.listeners["tcp6"]), target)


@attack("UDP to a listener on the host's loopback", "ECONNREFUSED")
def udp(target: Target) -> str:
    return _talk(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", target.listeners["udp"]), target)


@attack("TCP to the host by its own addresses", "ENETUNREACH")
def tcp_addresses(target: Target) -> str:
    if not target.addresses:
        raise Absent("this machine has only its loopback")
    refusal: OSError | None = None
    for address in target.addresses:
        try:
            return _talk(socket.AF_INET, socket.SOCK_STREAM, (address, target.listeners["tcp"]), target)
        except OSError as error:
            refusal = error
    raise refusal or Stopped("no answer")


def _route(address: str) -> str:
    """Asks the kernel for a route; connecting a datagram socket sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 53))
        return f"a route from {probe.getsockname()[0]}"


@attack("a route to a public resolver", "ENETUNREACH")
def route_out(_: Target) -> str:
    return _route("1.1.1.1")


@attack("a route to a cloud's metadata service", "ENETUNREACH")
def route_metadata(_: Target) -> str:
    return _route("169.254.169.254")


@attack("a route out over IPv6", "ENETUNREACH", "EADDRNOTAVAIL")
def route_out6(_: Target) -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect(("2606:4700:4700::1111", 53))
        return f"a route from {probe.getsockname()[0]}"


@attack("a name server to ask", "no name server")
def name_server(target: Target) -> str:
    try:
        with open("/etc/resolv.conf") as file:
            servers = [line.split()[1] for line in file if line.startswith("nameserver")]
    except FileNotFoundError:
        servers = []
    for server in servers:
        try:
            return f"{server}: {_route(server)}"
        except OSError:
            continue
    raise Stopped("no name server")


@attack("an interface beyond loopback", "only lo")
def interfaces(_: Target) -> str:
    found = [name for _, name in socket.if_nameindex() if name != "lo"] if _netlink() else _interfaces_of_proc()
    if not found:
        raise Stopped("only lo")
    return ", ".join(found)


def _netlink() -> bool:
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        return True
    except OSError:
        return False


def _interfaces_of_proc() -> list[str]:
    with open("/proc/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file if ":" in line]
    return [name for name in names if name != "lo"]


@attack("a raw IP socket", "EPERM")
def raw(_: Target) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "opened"


@attack("a raw IPv6 socket", "EPERM")
def raw6(_: Target) -> str:
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58).close()
    return "opened"


@attack("a packet socket, which sees frames of the wire", "EPERM")
def packet(_: Target) -> str:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300).close()
    return "opened"


@attack("a vsock socket to the hypervisor", "EPERM")
def vsock(_: Target) -> str:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as line:
        line.settimeout(_TIMEOUT)
        # Reaching nobody is reaching the family.
        return f"opened, connecting gives {line.connect_ex((2, 1))}"


#: NETLINK_ROUTE, USERSOCK, XFRM, AUDIT, NETFILTER, KOBJECT_UEVENT, CRYPTO
for _name, _protocol in {"route": 0, "xfrm": 6, "audit": 9, "netfilter": 12, "uevent": 15, "crypto": 21}.items():

    def _open(_: Target, protocol: int = _protocol) -> str:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).close()
        return "opened"

    attack(f"a netlink socket of kind {_name}", "EPERM")(_open)


@attack("a socket of any other family the kernel knows", "EPERM")
def other_families(_: Target) -> str:
    return _any_socket([(family, kind, 0) for family in range(48) if family not in (1, 2, 10) for kind in (1, 2, 3, 5)])


@attack("a socket of a protocol beyond TCP and UDP (SCTP, DCCP, UDP-Lite, MPTCP)", "EPERM", "ESOCKTNOSUPPORT")
def other_protocols(_: Target) -> str:
    tried = [(1, 132), (5, 132), (6, 33), (6, 0), (2, 136), (1, 262), (2, 115), (5, 0)]
    return _any_socket([(family, kind, protocol) for family in (2, 10) for kind, protocol in tried])


def _any_socket(tried: list[tuple[int, int, int]]) -> str:
    """Opens the first that the kernel grants; otherwise every refusal must be the policy's own."""
    refusals = set()
    for family, kind, protocol in tried:
        try:
            socket.socket(family, kind, protocol).close()
            return f"a socket of family {family}, type {kind}, protocol {protocol}"
        except OSError as error:
            refusals.add(errno.errorcode[error.errno or 0])
    raise Stopped(", ".join(sorted(refusals)))


@attack("the host's abstract unix sockets", "ECONNREFUSED")
def abstract(target: Target) -> str:
    return _talk(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + target.listeners["abstract"], target)


@attack("abstract unix sockets of anybody, as the kernel lists them", "none listed")
def abstract_listed(target: Target) -> str:
    with open("/proc/net/unix") as file:
        listed = [line.split()[-1] for line in file if "@" in line]
    if not listed:
        raise Stopped("none listed")
    return ", ".join(listed[:5])


@attack("a unix socket in the host's files", "ENOENT")
def unix_path(target: Target) -> str:
    return _talk(socket.AF_UNIX, socket.SOCK_STREAM, target.listeners["socket"], target)


@attack("the Docker engine's socket", "ENOENT")
def engine(target: Target) -> str:
    """Where it lies on this machine, and wherever else engines listen."""
    usual = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"]
    refusals = set()
    for path in [target.listeners["engine"] or usual[0], *usual]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(_TIMEOUT)
                line.connect(path)
                line.send(b"GET /_ping HTTP/1.0\r\n\r\n")
                if answer := line.recv(200).decode(errors="replace"):
                    return f"{path} answers {answer.splitlines()[0]}"
        except OSError as error:
            refusals.add(errno.errorcode[error.errno or 0])
    raise Stopped(", ".join(sorted(refusals)))
