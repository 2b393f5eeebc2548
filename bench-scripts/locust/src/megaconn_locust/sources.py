"""Source addresses and ports of one worker among those of a network namespace."""

from __future__ import annotations

import re
import socket
from pathlib import Path

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

# 127.1.0.0 to 127.250.255.255, one sixteenth of the loopback each.
LOOPBACK_PARTS = 250


class SourcesError(Exception):
    """No sources are left, or they cannot be told apart."""


class Part:
    """One worker's number in its network namespace, as long as it, or its client, lives.

    It is an abstract Unix socket: the kernel has one of a name in a network namespace, and takes it back when no
    process has it any more.
    """

    def __init__(self, parts: int, name: str = "megaconn.locust.part") -> None:
        for number in range(parts):
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                held.bind(f"\0{name}.{number}")
            except OSError:
                held.close()
                continue
            self.number, self.parts, self._held = number, parts, held
            return
        raise SourcesError(
            f"{parts} of {parts} workers have sources on this host; fix: --parts {parts + 1} or more "
            "for all of them, or another network namespace for this one"
        )

    def fileno(self) -> int:
        """What the client is given, so that its sources are its own until it has ended."""
        return self._held.fileno()

    def close(self) -> None:
        """Gives the number back, once the client has, too."""
        self._held.close()


def parts_of(target: str, sources: str, parts: int, processes: int) -> int:
    """Among how many workers of a namespace its sources are divided."""
    if parts > 0:
        return parts
    if sources:
        return len(sources.split(","))
    if is_loopback(target):
        return LOOPBACK_PARTS
    return max(processes, 1)


def arguments(part: Part, target: str, sources: str) -> list[str]:
    """The client's flags for them."""
    listed = sources.split(",") if sources else []
    if listed:
        source = ["--source", listed[part.number % len(listed)]]
        return source if part.parts <= len(listed) else [*source, *_ports(part)]
    if is_loopback(target) and part.number < LOOPBACK_PARTS:
        net = f"127.{part.number + 1}"
        return ["--source", f"{net}.0.1-{net}.255.254"]
    return _ports(part) if part.parts > 1 else []


def is_loopback(target: str) -> bool:
    """Whether all of them are addresses of IPv4's loopback."""
    hosts = [re.sub(r"^\w+://", "", one) for one in target.split(",")]
    return all(host.startswith("127.") for host in hosts)


def _ports(part: Part) -> list[str]:
    low, high = (int(port) for port in PORT_RANGE.read_text().split())
    each = (high - low + 1) // part.parts
    if each == 0:
        raise SourcesError(f"ports {low} to {high} are too few for {part.parts} workers; fix: fewer --parts")
    first = low + part.number * each
    return ["--source-ports", f"{first}-{first + each - 1}"]
