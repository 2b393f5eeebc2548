"""The user."""

from __future__ import annotations

from locust import User, constant, task
from locust.env import Environment

from megaconn_locust import plugin


class MegaconnUser(User):
    """A block of connections. Subclasses may say what the command line does not."""

    abstract = True

    # What stands here goes before the command line's.
    target: str | None = None
    block: int | None = None
    message_every: str | None = None
    expect: str | None = None
    client_args: str | None = None

    # Where there are several classes, their rows are told apart by it.
    label: str = ""

    # All is done by the client; a user that waits is stopped at once.
    wait_time = constant(3_600)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._driver = plugin.driver_of(environment, type(self))

    def on_start(self) -> None:
        self._driver.join()

    def on_stop(self) -> None:
        self._driver.leave()

    @task
    def hold(self) -> None:
        """Nothing: the client does it."""
