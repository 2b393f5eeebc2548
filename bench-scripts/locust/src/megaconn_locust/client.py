"""One process of `megaconn-client run`, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shlex
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

import gevent
from gevent import Greenlet, subprocess

from megaconn_locust.control import Control, Refused
from megaconn_locust.figures import Line
from megaconn_locust.options import Options
from megaconn_locust.sources import Part, arguments

logger = logging.getLogger("megaconn")

# The run ends when it is told to: no test lasts longer.
HOLD = "365d"

# What does not end by SIGTERM, with which it drops what is open, is killed.
TERM_S = 10.0


def patience_s(connections: int) -> float:
    """Seconds to close so many in order."""
    return 60 + connections / 5_000


_numbers = itertools.count()


class Client:
    """It runs from when it is made until `end`."""

    def __init__(self, options: Options, part: Part, connections: int, on_line: Callable[[Line], None]) -> None:
        self.asked = connections
        self._on_line = on_line
        self.said: deque[str] = deque(maxlen=20)
        path = Path(tempfile.gettempdir()) / f"megaconn-locust-{os.getpid()}-{next(_numbers)}.sock"
        self.control = Control(path)
        command = command_line(options, part, connections, path)
        # In a session of its own: Ctrl-C on a terminal is for Locust, which ends the client in order.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(part.fileno(),),
            start_new_session=True,
            # It has the kernel end it when the worker is gone, however that came.
            env=os.environ | {"MEGACONN_PARENT": str(os.getpid())},
        )
        logger.info("client %d started: %s", self.process.pid, shlex.join(command))
        figures, talk = self.process.stdout, self.process.stderr
        assert figures is not None and talk is not None
        self._readers: list[Greenlet[..., None]] = [
            gevent.spawn(self._read_figures, figures),
            gevent.spawn(self._read_talk, talk),
        ]

    def _read_figures(self, figures: IO[bytes]) -> None:
        for text in figures:
            line = Line.read(text)
            if line is not None:
                self._on_line(line)

    def _read_talk(self, talk: IO[bytes]) -> None:
        for text in talk:
            words = text.decode(errors="replace").rstrip()
            self.said.append(words)
            level = logging.WARNING if words.startswith(("warning", "error")) else logging.DEBUG
            logger.log(level, "client %d: %s", self.process.pid, words)

    @property
    def has_ended(self) -> bool:
        """Whether it is over, and all that it had to say was read."""
        return self.process.poll() is not None and all(reader.ready() for reader in self._readers)

    @property
    def why(self) -> str:
        """What it said at last of an error."""
        errors = [words for words in self.said if words.startswith("error")]
        said = (errors or list(self.said) or ["nothing was said"])[-1]
        return f"megaconn-client ended with {self.process.returncode}: {said}"

    def ask_for(self, connections: int) -> bool:
        """Asks for another number; `False` when it cannot be asked now. Raises `Refused` when it never can."""
        try:
            self.control.set(connections=connections)
        except Refused as refused:
            if "as many changes" in str(refused) or "is ending" in str(refused):
                return False
            raise
        except OSError:
            return False
        self.asked = connections
        return True

    def ask_for_most(self, wanted: int) -> None:
        """Asks for as many as it can hold, after `wanted` were refused."""
        with contextlib.suppress(OSError, Refused):
            most = self.control.state().get("most_connections")
            if isinstance(most, int) and 0 < most < wanted:
                self.control.set(connections=most)

    def end(self) -> None:
        """Ends it in order, and reads its last figures."""
        is_told = False
        until = time.monotonic() + patience_s(self.asked)
        while self.process.poll() is None and time.monotonic() < until:
            if not is_told:
                is_told = self._tell_to_stop()
            self._wait(0.1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                logger.warning("client %s does not end; sending it %s", self.process.pid, number.name)
                self.process.send_signal(number)
                self._wait(TERM_S)
        gevent.joinall(self._readers, timeout=TERM_S)

    def _tell_to_stop(self) -> bool:
        try:
            self.control.stop()
        except (OSError, Refused):
            return False
        return True

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)


def command_line(options: Options, part: Part, connections: int, control: Path) -> list[str]:
    """What is run. What `client_args` says goes before what is said here."""
    more = shlex.split(options.client_args)
    given = {word.split("=")[0] for word in more}
    command = [options.client, "run"]
    for target in options.target.split(","):
        command += ["--target", target]
    command += ["--connections", str(connections), "--control", str(control), "--stats", "-"]
    if not given & {"--source", "--source-ports"}:
        command += arguments(part, options.target, options.sources)
    defaults = {
        "--hold": HOLD,
        "--expect": options.expect,
        "--message-every": options.message_every,
        "--server-metrics": "none",
    }
    for flag, value in defaults.items():
        if value and flag not in given:
            command += [flag, value]
    return command + more
