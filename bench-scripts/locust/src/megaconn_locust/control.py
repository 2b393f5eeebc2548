"""The control of a client, by HTTP over its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

TIMEOUT_S = 5.0


class Refused(Exception):
    """The client does not do what it was asked for, and says why."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


class Control:
    """Asks at a place that is there while the client runs. Whatever is asked may raise `OSError` before and after."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self) -> dict[str, object]:
        """The state of the run."""
        return self._ask("GET", "/state")

    def set(self, **values: object) -> None:
        """Sets `connections`, `rate` or `message_rate`."""
        self._ask("POST", "/set", json.dumps(values))

    def stop(self) -> None:
        """Ends the run in order."""
        self._ask("POST", "/stop")

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, object]:
        connection = _Connection(self.path)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"no answer of the control: {error!r}") from error
        finally:
            connection.close()
        try:
            said = json.loads(text)
        except ValueError:
            said = {"error": text.decode(errors="replace")}
        if answer.status >= 300:
            raise Refused(str(said.get("error", said)))
        return dict(said)
