"""Loopback ports for servers that are told their port before they start.

Taken from below the range from which Linux gives ports to outgoing connections (32768 and up by
default): one of those may be anybody's by the time the server binds it. Used by the demo, its
control plane and the tests.
"""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
