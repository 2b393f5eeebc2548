"""What a worker does: its users are counted, and one client holds as many connections as they stand for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent
from gevent.event import Event
from locust.env import Environment

from megaconn_locust import statistics
from megaconn_locust.client import Client
from megaconn_locust.control import Refused
from megaconn_locust.figures import Figures, Line
from megaconn_locust.options import Options
from megaconn_locust.sources import Part, SourcesError, parts_of

logger = logging.getLogger("megaconn")

# Users of one step of Locust come within it, and are one change.
GATHER_S = 0.05

# A client takes 1,000 changes in a run: the first half of them by the second, as Locust's own steps are.
SPACING_S = ((500, 0.5), (900, 10.0), (1_000, 60.0))


class ClientFailed(Exception):
    """The client of a worker ended by itself, or does not do what its users are for."""


class Driver:
    """Of one class of users."""

    def __init__(
        self,
        environment: Environment,
        label: str,
        options: Callable[[], Options],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._environment, self.label = environment, label
        self._options, self._on_failure = options, on_failure
        self._users = 0
        self._changed = Event()
        self._client: Client | None = None
        self._figures = Figures()
        self._changes, self._changed_at = 0, 0.0
        # No client is started before the next test, or before all users have gone.
        self._is_over = self._has_failed = False
        self._is_idle = Event()
        self._is_idle.set()
        self._steering = gevent.spawn(self._steer)

    def begin(self) -> None:
        """A test begins."""
        self._is_over = self._has_failed = False
        self._changed.set()

    def join(self) -> None:
        """A user more."""
        self._users += 1
        self._changed.set()

    def leave(self) -> None:
        """A user less."""
        self._users -= 1
        self._changed.set()

    def end(self) -> None:
        """The test is over: returns when the client has ended and all of it is counted."""
        self._is_over = True
        self._is_idle.clear()
        self._changed.set()
        self._is_idle.wait()

    @property
    def connections(self) -> int:
        """Open, by the last figures."""
        return self._figures.connections if self._client else 0

    @property
    def pid(self) -> int | None:
        """The client's."""
        return self._client.process.pid if self._client else None

    def _wanted(self, options: Options) -> int:
        return 0 if self._is_over else self._users * options.block

    def _steer(self) -> None:
        while True:
            self._changed.wait(timeout=0.25)
            if self._changed.is_set():
                self._changed.clear()
                self._is_idle.clear()
                gevent.sleep(GATHER_S)
            try:
                self._step()
            except Exception as failed:
                # It steers on: `end` waits for it.
                self._fail(failed)
            if self._client is None and not self._changed.is_set():
                self._is_idle.set()

    def _step(self) -> None:
        options = self._options()
        wanted, client = self._wanted(options), self._client
        if wanted == 0:
            self._has_failed = False
        if client is None:
            if wanted > 0 and not self._has_failed:
                self._start(options, wanted)
        elif client.has_ended:
            self._forget(client)
            raise ClientFailed(client.why)
        elif wanted == 0:
            client.end()
            self._forget(client)
        elif wanted != client.asked and self._may_change():
            self._change(client, wanted)

    def _start(self, options: Options, wanted: int) -> None:
        if not options.target:
            raise ClientFailed("no target; fix: --target, or --host, as 10.0.0.2:7000")
        processes = getattr(self._environment.parsed_options, "processes", None) or 0
        parts = parts_of(options.target, options.sources, options.parts, processes)
        part: Part | None = None
        self._figures = Figures()
        self._changes = 0
        try:
            part = Part(parts)
            self._client = Client(options, part, wanted, self._take)
        except SourcesError as error:
            raise ClientFailed(str(error)) from error
        except (OSError, ValueError) as error:
            raise ClientFailed(f"{options.client} does not start: {error}") from error
        finally:
            # The client has it now.
            if part is not None:
                part.close()

    def _may_change(self) -> bool:
        spacing = next((s for most, s in SPACING_S if self._changes < most), SPACING_S[-1][1])
        return time.monotonic() - self._changed_at >= spacing

    def _change(self, client: Client, wanted: int) -> None:
        try:
            is_asked = client.ask_for(wanted)
        except Refused as refused:
            # As many as there can be, and no more is asked for until users come or go.
            client.asked = wanted
            client.ask_for_most(wanted)
            logger.error("%s", refused)
            self._on_failure(refused)
            return
        if is_asked:
            self._changes += 1
            self._changed_at = time.monotonic()

    def _take(self, line: Line) -> None:
        for name, row in self._figures.take(line).items():
            statistics.add(self._environment.stats, self._name(name), row)

    def _name(self, name: str) -> str:
        return f"{self.label} {name}".strip()

    def _forget(self, client: Client) -> None:
        left = self._figures.connections
        self._client = None
        self._figures = Figures()
        if left > 0:
            what = f"lost with the client, which ended with {client.process.returncode}"
            statistics.add_failures(self._environment.stats, self._name("connect"), what, left)

    def _fail(self, failed: Exception) -> None:
        self._has_failed = True
        self._environment.process_exit_code = 1
        logger.error("%s", failed)
        self._on_failure(failed)
