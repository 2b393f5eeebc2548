"""What stands between Locust's events and the drivers, on workers and on a master."""

from __future__ import annotations

import logging
import time
from dataclasses import fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from locust import User
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from megaconn_locust import statistics
from megaconn_locust.client import TERM_S, patience_s
from megaconn_locust.driver import Driver
from megaconn_locust.options import OWN, Options

logger = logging.getLogger("megaconn")

# Of a master to its workers, and their answer once all is closed and counted.
END, ENDED = "megaconn_end", "megaconn_ended"

# What a worker adds to its reports.
OPEN = "megaconn_open"

LOST = "lost with a worker"


def driver_of(environment: Environment, user: type[User]) -> Driver:
    """The driver of a class of users in this process."""
    return install(environment).driver(user)


class Plugin:
    """Of one environment that makes connections: a worker's, or that of a Locust alone."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._own = Options.of(environment.parsed_options)
        self._drivers: dict[type[User], Driver] = {}
        events = environment.events
        events.test_start.add_listener(lambda **_: self._begin())
        events.test_stop.add_listener(lambda **_: self.end())
        events.quitting.add_listener(lambda **_: self._quit())
        events.report_to_master.add_listener(self._report)
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(END, lambda **_: gevent.spawn(self._end_for, runner))

    def driver(self, user: type[User]) -> Driver:
        """The driver of a class."""
        if user not in self._drivers:
            label = getattr(user, "label", "")

            def failed(failure: Exception) -> None:
                # On the page it stands among exceptions.
                instance = user(self._environment)
                self._environment.events.user_error.fire(
                    user_instance=instance, exception=failure, tb=failure.__traceback__
                )

            self._drivers[user] = Driver(self._environment, label, lambda: self.options(user), failed)
        return self._drivers[user]

    def options(self, user: type[User]) -> Options:
        """What holds now for a class: its own words, then those of the page or the command line."""
        options = Options.of(self._environment.parsed_options)
        standard = Options()
        for name in OWN:
            own = getattr(self._own, name)
            if own != getattr(standard, name):
                options = replace(options, **{name: own})
        for field in fields(Options):
            said = getattr(user, field.name, None)
            if said not in (None, ""):
                options = replace(options, **{field.name: said})
        host = self._environment.host or user.host or ""
        return options if options.target else replace(options, target=host)

    def end(self) -> None:
        """All clients are closed, and all of them is counted, when it returns."""
        gevent.joinall([gevent.spawn(driver.end) for driver in self._drivers.values()])

    def _begin(self) -> None:
        for driver in self._drivers.values():
            driver.begin()

    def _end_for(self, runner: WorkerRunner) -> None:
        self.end()
        self._send(runner)
        runner.client.send(Message(ENDED, None, runner.client_id))

    def _quit(self) -> None:
        self.end()
        runner = self._environment.runner
        if isinstance(runner, WorkerRunner):
            self._send(runner)

    def _send(self, runner: WorkerRunner) -> None:
        try:
            runner._send_stats()
        except Exception as error:  # The master may be gone.
            logger.warning("the last figures could not be sent: %s", error)

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        data[OPEN] = {f"{driver.label} connect".strip(): driver.connections for driver in self._drivers.values()}


class Overseer:
    """Of a master: it has the workers end in order, and counts what is lost with one that is gone."""

    def __init__(self, environment: Environment, runner: MasterRunner) -> None:
        self._stats, self._runner = environment.stats, runner
        # What each worker had open, and what was counted as lost with those that are missing.
        self._open: dict[str, dict[str, int]] = {}
        self._lost: dict[str, dict[str, int]] = {}
        self._awaited: set[str] = set()
        environment.events.worker_report.add_listener(self._take)
        environment.events.test_start.add_listener(lambda **_: self._begin())
        environment.events.test_stopping.add_listener(lambda **_: self._end())
        runner.register_message(ENDED, lambda msg, **_: self._awaited.discard(msg.node_id))
        gevent.spawn(self._watch)

    def _begin(self) -> None:
        self._open, self._lost = {}, {}

    def _take(self, client_id: str, data: dict[str, Any]) -> None:
        self._open[client_id] = data.get(OPEN) or {}
        for name, n in self._lost.pop(client_id, {}).items():
            # It was not gone after all.
            statistics.add_failures(self._stats, name, LOST, -n)

    def _present(self) -> set[str]:
        return {node.id for node in self._runner.clients.all if node.state != STATE_MISSING}

    def _end(self) -> None:
        self._awaited = self._present()
        for worker in self._awaited:
            self._runner.send_message(END, client_id=worker)
        most = max((sum(rows.values()) for rows in self._open.values()), default=0)
        until = time.monotonic() + patience_s(most) + 3 * TERM_S
        while self._awaited & self._present() and time.monotonic() < until:
            gevent.sleep(0.1)
        if self._awaited:
            logger.warning("%d workers did not say that they have closed all", len(self._awaited))

    def _watch(self) -> None:
        while True:
            gevent.sleep(0.5)
            gone = set(self._open) - self._present() - set(self._lost)
            for worker in gone & {node.id for node in self._runner.clients.all}:
                lost = {name: n for name, n in self._open[worker].items() if n > 0}
                self._lost[worker] = lost
                for name, n in lost.items():
                    logger.error("%d connections were lost with worker %s", n, worker)
                    statistics.add_failures(self._stats, name, LOST, n)


_plugins: WeakKeyDictionary[Environment, Plugin] = WeakKeyDictionary()


def install(environment: Environment, **_: Any) -> Plugin:
    """Has an environment do all of it; once. Locust does it where a locustfile imports the package."""
    plugin = _plugins.get(environment)
    if plugin is None:
        plugin = _plugins[environment] = Plugin(environment)
        if isinstance(environment.runner, MasterRunner):
            Overseer(environment, environment.runner)
    return plugin
