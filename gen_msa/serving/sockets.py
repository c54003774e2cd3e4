"""Options of sockets that differ between systems."""

import socket

from gen_msa import errors

_EXCLUSIVE_USE = ~socket.SO_REUSEADDR
"""`SO_EXCLUSIVEADDRUSE`, which Python defines on Windows only."""


def take_only_free_port(server_socket: socket.socket) -> None:
    """Let a socket take a port that no other server listens on, even just after one has ended.

    On Windows `SO_REUSEADDR` would take the port away from a server that listens.
    """
    option = _EXCLUSIVE_USE if errors.RUNS_ON_WINDOWS else socket.SO_REUSEADDR
    server_socket.setsockopt(socket.SOL_SOCKET, option, 1)
