"""Sources of workers that share a network namespace; what a client is told."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from megaconn_locust import sources
from megaconn_locust.client import command_line
from megaconn_locust.options import Options
from megaconn_locust.sources import Part, SourcesError, arguments, is_loopback, parts_of


def test_a_part_is_one_workers_until_it_is_given_back(request: pytest.FixtureRequest) -> None:
    """The kernel has a name once, in a network namespace."""
    name = f"megaconn.test.{request.node.name}"
    first, second = Part(2, name), Part(2, name)
    assert (first.number, second.number) == (0, 1)
    with pytest.raises(SourcesError, match="fix: --parts 3"):
        Part(2, name)
    first.close()
    again = Part(2, name)
    assert again.number == 0
    again.close()
    second.close()


def test_sources_are_divided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Addresses where there are enough, else ports; no two workers have one tuple."""
    ports = tmp_path / "ports"
    ports.write_text("32768\t60999\n")
    monkeypatch.setattr(sources, "PORT_RANGE", ports)
    held = Part(4, "megaconn.test.sources")
    try:
        held.number = 2
        assert arguments(held, "127.0.0.1:7000", "") == ["--source", "127.3.0.1-127.3.255.254"]
        assert arguments(held, "10.0.0.2:7000", "") == ["--source-ports", "46884-53941"]
        held.number = 3
        assert arguments(held, "10.0.0.2:7000", "") == ["--source-ports", "53942-60999"]
        two = "10.0.0.10-10.0.0.19,10.0.0.20"
        assert arguments(held, "10.0.0.2:7000", two) == ["--source", "10.0.0.20", "--source-ports", "53942-60999"]
        held.parts, held.number = 2, 1
        assert arguments(held, "10.0.0.2:7000", two) == ["--source", "10.0.0.20"]
        held.parts, held.number = 1, 0
        assert arguments(held, "10.0.0.2:7000", "") == []
    finally:
        held.close()


def test_how_many_share_them() -> None:
    """What is said, else what can be known."""
    assert parts_of("10.0.0.2:1", "a,b", 3, 4) == 3
    assert parts_of("10.0.0.2:1", "a,b", 0, 4) == 2
    assert parts_of("10.0.0.2:1", "", 0, 4) == 4
    assert parts_of("10.0.0.2:1", "", 0, 0) == 1
    assert parts_of("127.0.0.1:1", "", 0, 4) == sources.LOOPBACK_PARTS
    assert is_loopback("ws://127.0.0.1:1/a,tls://127.0.0.2:1") and not is_loopback("127.0.0.1:1,10.0.0.1:1")


def test_what_is_given_goes_before_what_is_chosen() -> None:
    """`--client-args` is the last word."""
    given = Namespace(
        megaconn_target="10.0.0.2:7000,10.0.0.3:7000",
        megaconn_block=5,
        megaconn_expect="push",
        megaconn_client_args="--hold=5s --source 10.0.0.1 --push-every '1 s'",
        megaconn_message_every=None,
    )
    options = Options.of(given)
    held = Part(2, "megaconn.test.given")
    try:
        command = command_line(options, held, 10, Path("/tmp/c.sock"))
    finally:
        held.close()
    assert command == [
        "megaconn-client",
        "run",
        "--target",
        "10.0.0.2:7000",
        "--target",
        "10.0.0.3:7000",
        "--connections",
        "10",
        "--control",
        "/tmp/c.sock",
        "--stats",
        "-",
        "--expect",
        "push",
        "--server-metrics",
        "none",
        "--hold=5s",
        "--source",
        "10.0.0.1",
        "--push-every",
        "1 s",
    ]
