"""Opens the ports of the commands that serve, or says why that is not possible, and what to do."""

import errno
import socket
from typing import Final

from guestpass.cli.app import Failure

BACKLOG: Final = 2048
"""Connections that may wait to be accepted; the system's own limit may be lower."""


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A socket that listens already, so that a free port is known and an early request waits.

    Args:
        host: An address of this machine, or a name of one.
        port: 0 takes a free one.
        option: With which a person chooses the port.

    Raises:
        Failure: The address or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        advice = f"Choose another port with {option}; 0 takes a free one."
        if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
            advice = "The host must be an address of this machine, such as 127.0.0.1."
        # Python adds the address to the system's words, which the line holds already.
        reason = str(exc.strerror).partition(" (while ")[0]
        raise Failure(f"cannot listen on {host} port {port}: {reason}", advice=advice) from exc
    # Accepted sockets inherit it. uvloop sets it by itself, but asyncio leaves it out for sockets made like
    # this one: a response in two writes then waits for the client's delayed ACK, 43 ms as measured.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
