"""Real servers, real clients, real Locust; each test ends what it started."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LOCUSTFILE = HERE.parent / "locustfile.py"


def binary(name: str) -> Path:
    """A program of megaconn: where MEGACONN_BINARIES says, else what was built last."""
    given = os.environ.get("MEGACONN_BINARIES")
    places = [Path(given)] if given else [ROOT / "target" / kind for kind in ("debug", "release")]
    there = [place / name for place in places if (place / name).exists()]
    assert there, f"no {name} in {places}; fix: cargo build --workspace"
    return max(there, key=lambda path: path.stat().st_mtime)


def free_port() -> int:
    """A port that nothing has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(what: Callable[[], object], why: str, seconds: float = 30) -> None:
    """Until it is true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"not in {seconds} s: {why}"
        time.sleep(0.05)


class Server:
    """`megaconn serve`."""

    def __init__(self, directory: Path, *more: str) -> None:
        self.port, self._metrics = free_port(), free_port()
        self.target = f"127.0.0.1:{self.port}"
        command = [str(binary("megaconn")), "serve", "--listen", self.target]
        command += ["--metrics", f"127.0.0.1:{self._metrics}", *more]
        self._said = (directory / "server.log").open("w")
        self.process = subprocess.Popen(command, stdout=self._said, stderr=self._said)
        wait_for(self._is_there, "the server answers")

    def _is_there(self) -> bool:
        try:
            return self.sum("connections") >= 0
        except OSError:
            return False

    def sum(self, name: str) -> int:
        """A figure over all cores."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(int(n) for n in re.findall(rf"^megaconn_{name}{{[^}}]*}} (\d+)", text, re.MULTILINE))

    def end(self) -> None:
        """At once."""
        self.process.kill()
        self.process.wait()
        self._said.close()


class Locust:
    """One process of Locust."""

    def __init__(self, log: Path, *arguments: str, directory: Path | None = None, **environment: str) -> None:
        files = f"{LOCUSTFILE},{HERE / 'patient.py'}"
        command = [sys.executable, "-m", "locust", "-f", files, *arguments]
        environment = os.environ | {"MEGACONN_LOCUST_CLIENT": str(binary("megaconn-client"))} | environment
        self.log = log
        with log.open("w") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, cwd=directory
            )

    @property
    def said(self) -> str:
        """All of its log."""
        return self.log.read_text()

    def clients(self) -> list[int]:
        """Clients that it started and that still run, also after it is gone."""
        started = re.findall(r"client (\d+) started", self.said)
        return [int(pid) for pid in started if is_client(int(pid))]

    def wait(self, seconds: float = 60) -> int:
        """Its exit status."""
        return self.process.wait(timeout=seconds)

    def end(self) -> None:
        """At once, and its clients."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for pid in self.clients():
            os.kill(pid, signal.SIGKILL)


def is_client(pid: int) -> bool:
    """Whether there is such a process, and it is a client."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"megaconn-client" in command


class Page:
    """What Locust's page asks of a master."""

    def __init__(self, port: int) -> None:
        self._at = f"http://127.0.0.1:{port}"

    def _ask(self, path: str, **form: object) -> dict[str, object]:
        body = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(self._at + path, body, timeout=120) as answer:
            said: dict[str, object] = json.loads(answer.read())
        return said

    def start(self, users: int, rate: float) -> None:
        """Presses the button."""
        said = self._ask("/swarm", user_count=users, spawn_rate=rate)
        assert said["success"], said

    def stop(self) -> None:
        """Returns when all have stopped."""
        try:
            self._ask("/stop", now="yes")
        except urllib.error.HTTPError as error:
            # Older ones are asked otherwise.
            assert error.code in (405, 500)
            self._ask("/stop")

    def stats(self) -> dict[str, object]:
        """What the page shows."""
        return self._ask("/stats/requests")

    def users(self) -> int:
        """How many the page shows."""
        users = self.stats()["user_count"]
        assert isinstance(users, int)
        return users

    def row(self, name: str) -> dict[str, float]:
        """A row of the table; an empty one where there is none."""
        rows = self.stats()["stats"]
        assert isinstance(rows, list)
        return next((row for row in rows if row["name"] == name), {"num_requests": 0, "num_failures": 0})

    def errors(self) -> list[tuple[str, str]]:
        """Rows, and what failed there."""
        errors = self.stats()["errors"]
        assert isinstance(errors, list)
        return [(error["name"], error["error"]) for error in errors]

    def workers(self) -> list[dict[str, object]]:
        """Those that are there."""
        try:
            workers = self.stats().get("workers", [])
        except OSError:
            return []
        assert isinstance(workers, list)
        return [worker for worker in workers if worker["state"] != "missing"]


class Crowd:
    """A master with its page, and workers."""

    def __init__(self, directory: Path, workers: int, target: str, *arguments: str) -> None:
        self._directory, bind, web = directory, free_port(), free_port()
        self._place = ["--master-host", "127.0.0.1", "--master-port", str(bind)]
        self.master = Locust(
            directory / "master.log",
            "--master",
            "--master-bind-host",
            "127.0.0.1",
            "--master-bind-port",
            str(bind),
            "--web-host",
            "127.0.0.1",
            "--web-port",
            str(web),
            "--enable-rebalancing",
            "--host",
            target,
            *arguments,
        )
        self.page = Page(web)
        self.web = web
        self.workers: list[Locust] = []
        for _ in range(workers):
            self.add()
        wait_for(lambda: len(self.page.workers()) == workers, "all workers are there")

    def add(self) -> Locust:
        """A worker more."""
        log = self._directory / f"worker-{len(self.workers)}.log"
        self.workers.append(Locust(log, "--worker", *self._place))
        return self.workers[-1]

    def clients(self) -> list[int]:
        """Of all workers."""
        return [pid for worker in self.workers for pid in worker.clients()]

    def started(self) -> int:
        """How many clients were started: each makes one connection before its run."""
        return sum(worker.said.count(" started: ") for worker in self.workers)

    def end(self) -> None:
        """At once."""
        for process in (self.master, *self.workers):
            process.end()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers."""
    started: list[Server] = []

    def start(*more: str) -> Server:
        started.append(Server(tmp_path, *more))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Callable[..., Crowd]]:
    """Starts masters with workers."""
    started: list[Crowd] = []

    def start(workers: int, target: str, *arguments: str) -> Crowd:
        started.append(Crowd(tmp_path, workers, target, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.end()
