"""A master and workers, as on many hosts: what Locust shows is what the server saw."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from conftest import Crowd, Server, wait_for

# 40 in CI; MEGACONN_LOCUST_BLOCK=1000 makes it forty thousand connections.
BLOCK = int(os.environ.get("MEGACONN_LOCUST_BLOCK", "50"))
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
    assert messages["num_requests"] > 0 and messages["num_failures"] == 0
    assert 0 < messages["median_response_time"] < 5_000
