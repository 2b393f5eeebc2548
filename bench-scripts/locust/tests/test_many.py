"""A master and workers, as on many hosts: what Locust shows is what the server saw."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from conftest import Crowd, Server, wait_for

# 40 in CI; MEGACONN_TEST_BLOCK=1000 makes it forty thousand connections.
BLOCK = int(os.environ.get("MEGACONN_TEST_BLOCK", "50"))
USERS = 40


def test_a_worker_is_killed_and_the_others_take_its_users(
    serve: Callable[..., Server], crowd: Callable[..., Crowd]
) -> None:
    """The sums are right to the connection, and no process stays."""
    server = serve()
    all_of_it = crowd(4, server.target, "--block", str(BLOCK), "--message-every", "2s")
    page = all_of_it.page
    page.start(USERS, 20)
    wait_for(lambda: server.sum("connections") == USERS * BLOCK, "all are there")
    wait_for(lambda: page.row("connect")["num_requests"] == USERS * BLOCK, "and shown")
    assert page.users() == USERS

    killed = all_of_it.workers[1]
    assert len(killed.clients()) == 1
    killed.process.send_signal(signal.SIGKILL)
    killed.wait()
    wait_for(lambda: not killed.clients(), "its client has ended")
    wait_for(lambda: server.sum("connections") < USERS * BLOCK, "its connections are gone")
    lost = USERS * BLOCK // 4
    wait_for(lambda: page.row("connect")["num_failures"] == lost, "they count as lost")
    wait_for(lambda: server.sum("connections") == USERS * BLOCK, "others took its users")
    wait_for(lambda: page.users() == USERS, "which is shown")

    # Down, and all of it in order.
    page.start(USERS // 2, 20)
    wait_for(lambda: server.sum("connections") == USERS * BLOCK // 2, "half of them has gone")
    page.stop()
    wait_for(lambda: server.sum("connections") == 0, "all have gone")
    assert not all_of_it.clients(), "no client stays"
    accepted = server.sum("accepted_total") - all_of_it.started()
    assert accepted == USERS * BLOCK + lost
    # The page has an answer for 2 s.
    wait_for(lambda: page.row("connect")["num_requests"] >= accepted, "all are counted", 5)
    row, messages = page.row("connect"), page.row("message")
    assert row["num_requests"] == accepted
    assert row["num_failures"] == lost
    assert messages["num_requests"] > 0
    # A machine that is full may be late; nothing else fails.
    assert {error for name, error in page.errors() if name != "connect"} <= {"late"}
    assert [error for name, error in page.errors() if name == "connect"] == ["lost with a worker"]
    assert 0 < messages["median_response_time"] < 5_000


def test_workers_come_and_go_and_a_test_follows_another(
    serve: Callable[..., Server], crowd: Callable[..., Crowd]
) -> None:
    """A worker more, one that quits, a second test; and a master that is killed leaves no client."""
    server = serve()
    all_of_it = crowd(2, server.target, "--block", "10")
    page = all_of_it.page
    page.start(12, 12)
    wait_for(lambda: server.sum("connections") == 120, "all are there")
    third = all_of_it.add()
    wait_for(third.clients, "it has some of the users")
    wait_for(lambda: server.sum("connections") == 120, "as many as before")
    first = all_of_it.workers[0]
    first.process.send_signal(signal.SIGTERM)
    first.wait()
    assert not first.clients(), "it has closed all"
    wait_for(lambda: server.sum("connections") == 120, "others took its users")
    page.stop()
    wait_for(lambda: server.sum("connections") == 0, "all have gone")
    accepted, started = server.sum("accepted_total"), all_of_it.started()
    wait_for(lambda: page.row("connect")["num_requests"] >= accepted - started, "all are counted", 5)
    row = page.row("connect")
    assert (row["num_requests"], row["num_failures"]) == (accepted - started, 0)

    page.start(4, 4)
    wait_for(lambda: server.sum("connections") == 40, "of the second test")
    new = server.sum("accepted_total") - accepted - (all_of_it.started() - started)
    wait_for(lambda: page.row("connect")["num_requests"] == new, "which begins at nothing")
    all_of_it.master.process.send_signal(signal.SIGKILL)
    wait_for(lambda: server.sum("connections") == 0 and not all_of_it.clients(), "workers quit")
