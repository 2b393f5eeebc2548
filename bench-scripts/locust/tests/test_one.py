"""Locust by itself, without a page: what it writes, and how it ends."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Locust, Server, wait_for

Start = Callable[..., Locust]


@pytest.fixture
def locust(tmp_path: Path) -> Iterator[Start]:
    """Starts one without a page."""
    started: list[Locust] = []

    def start(*arguments: str, **environment: str) -> Locust:
        log = tmp_path / f"locust-{len(started)}.log"
        started.append(Locust(log, "--headless", *arguments, directory=tmp_path, **environment))
        return started[-1]

    yield start
    for each in started:
        each.end()


def table(directory: Path) -> dict[str, dict[str, str]]:
    """The rows that `--csv` writes."""
    with (directory / "figures_stats.csv").open() as file:
        return {row["Name"]: row for row in csv.DictReader(file)}


def test_pushes_and_messages_are_in_its_files(serve: Callable[..., Server], locust: Start, tmp_path: Path) -> None:
    """CSV and HTML, right to the connection; processes of one Locust share the addresses of their host."""
    server = serve("--mode", "push", "--push-every", "500ms")
    running = locust(
        "-u",
        "4",
        "-r",
        "4",
        "-t",
        "5s",
        "--target",
        server.target,
        "--block",
        "25",
        "--expect",
        "push",
        "--client-args",
        "--push-every 500ms",
        "--csv",
        "figures",
        "--html",
        "page.html",
        "--processes",
        "2",
    )
    assert running.wait() == 0, running.said
    rows = table(tmp_path)
    connects, pushes = rows["connect"], rows["push"]
    assert int(connects["Request Count"]) == 100 == server.sum("accepted_total") - running.said.count(" started: ")
    assert int(connects["Failure Count"]) == 0
    # The last of them may be under way when connections are closed.
    assert 0 < int(pushes["Request Count"]) <= server.sum("pushes_total")
    assert 300 < float(pushes["Median Response Time"]) < 2_000
    assert "TCP" in (tmp_path / "page.html").read_text()
    assert server.sum("connections") == 0 and not running.clients()


def test_what_a_server_ends_is_lost(serve: Callable[..., Server], locust: Start, tmp_path: Path) -> None:
    """Failures are what was lost, and the connects that are refused afterwards."""
    server = serve()
    running = locust("-u", "2", "-r", "2", "-t", "8s", "--host", server.target, "--block", "20", "--csv", "figures")
    wait_for(lambda: server.sum("connections") == 40, "all are there")
    server.process.kill()
    assert running.wait() == 1, "there are failures"
    row = table(tmp_path)["connect"]
    assert (int(row["Request Count"]), int(row["Failure Count"])) == (40, 40)
    assert "lost: " in (tmp_path / "figures_failures.csv").read_text()
    assert not running.clients()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(serve: Callable[..., Server], locust: Start, number: signal.Signals) -> None:
    """All is closed and counted, and no client stays."""
    server = serve()
    running = locust("-u", "2", "-r", "2", "--host", server.target, "--block", "10")
    wait_for(lambda: server.sum("connections") == 20, "all are there")
    running.process.send_signal(number)
    assert running.wait() == 0, running.said
    assert server.sum("connections") == 0 and not running.clients()
    assert "        20     0(0.00%)" in running.said


def test_a_client_that_is_killed_is_a_failure(serve: Callable[..., Server], locust: Start, tmp_path: Path) -> None:
    """Its connections are lost, and Locust says so."""
    server = serve()
    running = locust("-u", "1", "-r", "1", "-t", "8s", "--host", server.target, "--block", "10", "--csv", "figures")
    wait_for(lambda: server.sum("connections") == 10, "all are there")
    # Figures come once a second.
    wait_for(lambda: "connect" in table(tmp_path), "they are counted")
    (client,) = running.clients()
    os.kill(client, signal.SIGKILL)
    assert running.wait() == 1
    row = table(tmp_path)["connect"]
    assert (int(row["Request Count"]), int(row["Failure Count"])) == (10, 10)
    assert "lost with the client" in (tmp_path / "figures_failures.csv").read_text()


def test_what_a_client_refuses_is_said(locust: Start, tmp_path: Path) -> None:
    """With its own words, among exceptions, and by the exit status."""
    running = locust("-u", "1", "-r", "1", "-t", "3s", "--host", "127.0.0.1:1", "--csv", "figures")
    assert running.wait() == 1
    said = (tmp_path / "figures_exceptions.csv").read_text()
    assert "megaconn-client ended with 2: error: " in said and "fix: " in said
    missing = locust("-u", "1", "-r", "1", "-t", "3s", "--host", "127.0.0.1:1", MEGACONN_LOCUST_CLIENT="./no-client")
    assert missing.wait() == 1 and "./no-client does not start" in missing.said


def test_as_many_are_there_as_there_can_be(serve: Callable[..., Server], locust: Start, tmp_path: Path) -> None:
    """What is beyond is refused by the limit's name, while the test runs."""
    server = serve()
    few = "--source 127.0.0.1 --source-ports 20000-20099"
    running = locust(
        "-u", "2", "-r", "1", "-t", "6s", "--host", server.target, "--block", "60", "--client-args", few,
        "--csv", "figures",
    )  # fmt: skip
    wait_for(lambda: server.sum("connections") > 60, "more than of one user")
    assert running.wait() == 1
    said = (tmp_path / "figures_exceptions.csv").read_text()
    assert "connections 120 is more than this run can hold" in said and "fix: " in said
    row = table(tmp_path)["connect"]
    assert 60 < int(row["Request Count"]) <= 100 and int(row["Failure Count"]) == 0
