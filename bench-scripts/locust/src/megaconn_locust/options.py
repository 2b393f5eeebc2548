"""What is given on Locust's command line, in the environment, or on its page."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from typing import Any

from locust.argument_parser import LocustArgumentParser

PREFIX = "megaconn_"

# A worker's own value goes before what its master says: another host has another one.
OWN = ("client", "sources", "parts")

EXPECTS = ("echo", "push", "broadcast", "nothing")


@dataclass(frozen=True)
class Options:
    """As they stand in one process."""

    target: str = ""
    block: int = 1_000
    message_every: str = ""
    expect: str = "echo"
    client: str = "megaconn-client"
    client_args: str = ""
    sources: str = ""
    parts: int = 0

    @classmethod
    def of(cls, parsed: Namespace | None) -> Options:
        """Those of a command line, without what it leaves out."""
        given = {field.name: getattr(parsed, PREFIX + field.name, None) for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value not in (None, "")})


def add_options(parser: LocustArgumentParser) -> None:
    """Adds them to Locust's command line."""
    group = parser.add_argument_group("megaconn", "Users that are blocks of TCP connections")

    def option(name: str, default: object, text: str, *, is_on_page: bool = True, **more: Any) -> None:
        flag, variable = "--" + name.replace("_", "-"), "MEGACONN_LOCUST_" + name.upper()
        action: Any = group.add_argument(flag, dest=PREFIX + name, default=default, env_var=variable, help=text, **more)
        # What Locust's parser sets, and its groups do not.
        action.include_in_web_ui = is_on_page
        action.is_secret = action.is_required = action.is_multiple = False

    option(
        "target",
        "",
        "Where connections go, as `megaconn-client run --target` has it, with commas: "
        "10.0.0.2:7000 or wss://10.0.0.2:7000-7009/chat. Default: --host",
        metavar="TARGET",
    )
    option("block", 1_000, "Connections of one user. Default: 1000", type=int, metavar="N")
    option(
        "message_every",
        "",
        "Each connection sends a message once in this time, such as 10s or exp:10s. "
        "Default: one message each, to verify it",
        metavar="DUR",
    )
    option("expect", "echo", f"What the server does, one of {', '.join(EXPECTS)}. Default: echo", choices=EXPECTS)
    option("client_args", "", "More arguments of `megaconn-client run`, in one text", metavar="ARGS")
    option(
        "client",
        "megaconn-client",
        "The program. A worker's own value goes before its master's. Default: megaconn-client of the PATH",
        metavar="PATH",
        is_on_page=False,
    )
    option(
        "sources",
        "",
        "Source addresses of each worker of one host or network namespace, with commas: the "
        "first worker has the first ones. Default: addresses of its own on loopback, else the host's",
        metavar="SOURCE,...",
        is_on_page=False,
    )
    option(
        "parts",
        0,
        "Workers of one host or network namespace, which share its source ports. "
        "Default: --processes, else 1; on loopback as many as start",
        type=int,
        metavar="N",
        is_on_page=False,
    )
