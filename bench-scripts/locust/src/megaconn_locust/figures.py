"""What a client says of itself in lines of JSON, as requests and failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from megaconn_locust.histogram import Times

SCHEMA = "megaconn.core/1"


@dataclass
class Row:
    """What came to one row of Locust's table."""

    requests: int = 0
    times: Times = field(default_factory=Times)
    bytes: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        # A core goes on while its figures are written: the times may be one ahead.
        return self.requests != 0 or self.times.count > 0 or bool(self.failures)


class Line:
    """One core at one moment."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    @classmethod
    def read(cls, text: bytes) -> Line | None:
        """`None` when it is no such line."""
        try:
            fields = json.loads(text)
        except ValueError:
            return None
        is_ours = isinstance(fields, dict) and fields.get("schema") == SCHEMA
        return cls(fields) if is_ours else None

    def n(self, name: str) -> int:
        """A counter or gauge; 0 when the client has none of that name."""
        value = self._fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def named(self, name: str) -> dict[str, int]:
        """Counts by error or cause."""
        value = self._fields.get(name)
        return value if isinstance(value, dict) else {}

    def times(self, name: str) -> Times:
        """A histogram."""
        histograms = self._fields.get("histograms")
        return Times.read(histograms.get(name)) if isinstance(histograms, dict) else Times()


NOTHING = Line({})


class Figures:
    """Of all cores of one client."""

    def __init__(self) -> None:
        self._last: dict[int, Line] = {}

    @property
    def connections(self) -> int:
        """Open, by the last lines."""
        return sum(line.n("connections") for line in self._last.values())

    def take(self, line: Line) -> dict[str, Row]:
        """What is new in it since the line before of the same core, by rows."""
        core = line.n("core")
        before = self._last.get(core, NOTHING)
        self._last[core] = line
        rows = {
            "connect": _connects(line, before),
            "message": _messages(line, before),
            "push": _pushes(line, before),
            "broadcast": _broadcasts(line, before),
            "short connection": _short(line, before),
        }
        arrived = line.n("recv_bytes_total") - before.n("recv_bytes_total")
        for name in ("message", "push", "broadcast", "short connection"):
            if rows[name].requests:
                rows[name].bytes = arrived
                break
        return {name: row for name, row in rows.items() if row}


def _connects(line: Line, before: Line) -> Row:
    """A connection is one request. It fails when it is not made, and when it is lost.

    Connections that come back, and those in the place of others, are connections. The times of these are others.
    """
    new = _new(line, before)
    made = new("connected_total") - new("connect_undone_total")
    failures = _named(line, before, "failed", "not connected")
    failures |= _named(line, before, "reconnect_failed", "not connected again")
    failures |= _named(line, before, "arrival_failed", "not connected in the place of another")
    failures |= _some({"not tried, since the memory reserve was met": new("connect_untried_total")})
    failed = sum(failures.values())
    failures |= _named(line, before, "lost", "lost")
    return Row(made + failed, _times(line, before, "connect_latency_us"), failures=failures)


def _messages(line: Line, before: Line) -> Row:
    new = _new(line, before)
    mismatched = new("messages_mismatched_total")
    failures = _some({"not what was sent": mismatched, "late": new("messages_late_total")})
    times = _times(line, before, "message_latency_us")
    return Row(new("messages_total") + mismatched, times, failures=failures)


def _pushes(line: Line, before: Line) -> Row:
    """Their time is the one since the push before on the same connection."""
    new = _new(line, before)
    failures = _some({"overdue": new("pushes_overdue_total")})
    return Row(new("pushes_total"), _times(line, before, "push_gap_us"), failures=failures)


def _broadcasts(line: Line, before: Line) -> Row:
    new = _new(line, before)
    missed = new("broadcasts_missed_total")
    times = _times(line, before, "broadcast_latency_us")
    received = new("broadcasts_received_total")
    return Row(received + missed, times, failures=_some({"missed": missed}))


def _short(line: Line, before: Line) -> Row:
    """Short connections, of --churn."""
    new = _new(line, before)
    failures = _named(line, before, "churn_failed", "not connected")
    failures |= _named(line, before, "churn_lost", "lost")
    requests = new("churned_total") + sum(failures.values())
    return Row(requests, _times(line, before, "churn_latency_us"), failures=failures)


class _new:
    """How much a counter has grown."""

    def __init__(self, line: Line, before: Line) -> None:
        self._line, self._before = line, before

    def __call__(self, name: str) -> int:
        return self._line.n(name) - self._before.n(name)


def _times(line: Line, before: Line, name: str) -> Times:
    return line.times(name).since(before.times(name))


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {what: n for what, n in counts.items() if n > 0}


def _named(line: Line, before: Line, name: str, what: str) -> dict[str, int]:
    """Failures by their names."""
    old = before.named(name)
    return _some({f"{what}: {key}": n - old.get(key, 0) for key, n in line.named(name).items()})
