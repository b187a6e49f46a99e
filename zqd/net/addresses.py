"""Who a peer is, for people: its address, its name, its process.

Layer 3. Called by: `side`, `client_role`, `worker_role`.
"""

from __future__ import annotations

import socket
import struct

from zqd.endpoints import Endpoint, IpcEndpoint

_UCRED = struct.Struct("3i")


def address_of(endpoint: Endpoint, sock: socket.socket, address: tuple[str, int]) -> str:
    """For people: `127.0.0.1:40312`, `[::1]:40312`, `ipc:pid=812`."""
    if isinstance(endpoint, IpcEndpoint):
        return f"ipc:pid={peer_pid(sock)}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def name_of(identity: bytes) -> str:
    """A routing id for people: text where it is text, hex where it is not, as libzmq's generated ones."""
    try:
        text = identity.decode("ascii")
    except UnicodeDecodeError:
        return identity.hex()
    return text if text.isprintable() else identity.hex()


def peer_pid(sock: socket.socket) -> int:
    """The process that connected a unix socket (SO_PEERCRED, unix(7))."""
    pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(pid)
