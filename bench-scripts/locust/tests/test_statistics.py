"""Whole differences in Locust's statistics, as if each request had been an event."""

from __future__ import annotations

from typing import Any

from locust.stats import RequestStats, StatsEntry, StatsError

from megaconn_locust import statistics
from megaconn_locust.figures import Figures, Line, Row
from megaconn_locust.histogram import Times, bounds_us


def histogram(**counts: int) -> dict[str, Any]:
    """As in a line; `_70=3` is three in bucket 70."""
    index = [int(at[1:]) for at in counts]
    return {"config": {"grouping_power": 5}, "index": index, "count": list(counts.values())}


def line(core: int = 0, histograms: dict[str, Any] | None = None, **fields: object) -> Line:
    """One of a client."""
    return Line({"core": core, "histograms": histograms or {}, **fields})


def test_a_row_is_what_events_of_its_requests_would_be() -> None:
    """But for the middle of a bucket in place of the time itself."""
    times = Times({60: 3, 500: 2, 800: 1})
    whole, each = RequestStats(), RequestStats()
    statistics.add(whole, "message", Row(7, times, 64, {"late": 2}), now=1_000.5)
    for at, n in times.counts.items():
        for _ in range(n):
            each.log_request("TCP", "message", sum(bounds_us(at, 5)) / 2_000, 0)  # type: ignore[arg-type]
    each.log_request("TCP", "message", None, 64)  # type: ignore[arg-type]
    for _ in range(2):
        each.log_error("TCP", "message", "late")
    for one, other in zip(
        (whole.total, whole.get("message", "TCP")), (each.total, each.get("message", "TCP")), strict=True
    ):
        for name in ("num_requests", "num_none_requests", "num_failures", "total_content_length"):
            assert getattr(one, name) == getattr(other, name), name
        assert abs(one.total_response_time - other.total_response_time) < 1e-6
        # Locust's own buckets end the small ones.
        assert sorted(one.response_times.values()) == sorted(other.response_times.values())
        for part in (0.5, 0.8, 1.0):
            near = other.get_response_time_percentile(part)
            assert abs(one.get_response_time_percentile(part) - near) <= 0.5
    assert whole.get("message", "TCP").num_reqs_per_sec == {1_000: 7}
    assert [(error.error, error.occurrences) for error in whole.errors.values()] == [("late", 2)]


def test_a_master_adds_what_workers_report() -> None:
    """The way of it goes through Locust's own messages."""
    worker, master = RequestStats(use_response_times_cache=False), RequestStats()
    for _ in range(2):
        statistics.add(worker, "connect", Row(5, Times({400: 5}), failures={"lost: reset": 1}))
        for data in worker.serialize_stats():
            entry = StatsEntry.unserialize(data, master)
            master.get(entry.name, entry.method).extend(entry)
        for key, error in worker.serialize_errors().items():
            known = master.errors.setdefault(key, StatsError.unserialize({**error, "occurrences": 0}))
            known.occurrences += error["occurrences"]
        worker.clear_all()
    row = master.get("connect", "TCP")
    assert (row.num_requests, row.num_failures, sum(row.response_times.values())) == (10, 2, 10)
    assert [error.occurrences for error in master.errors.values()] == [2]


def test_failures_are_added_and_taken_back() -> None:
    """A worker that was thought to be lost, and is back, leaves no trace."""
    stats = RequestStats()
    statistics.add(stats, "connect", Row(5))
    statistics.add_failures(stats, "connect", "lost with a worker", 5)
    assert (stats.total.num_failures, stats.total.fail_ratio, len(stats.errors)) == (5, 1.0, 1)
    statistics.add_failures(stats, "connect", "lost with a worker", -5)
    assert (stats.total.num_failures, stats.errors) == (0, {})


def test_lines_are_requests_and_failures() -> None:
    """What each figure of a client comes to, by differences of each core."""
    figures = Figures()
    first = line(
        histograms={"connect_latency_us": histogram(_70=3), "message_latency_us": histogram(_80=2)},
        connected_total=4,
        connect_undone_total=1,
        connect_failed_total=3,
        connections=3,
        failed={"ECONNREFUSED": 3},
        messages_total=3,
        recv_bytes_total=192,
    )
    rows = figures.take(first)
    assert set(rows) == {"connect", "message"}
    assert (rows["connect"].requests, rows["connect"].times.count) == (6, 3)
    assert rows["connect"].failures == {"not connected: ECONNREFUSED": 3}
    assert (rows["message"].requests, rows["message"].times.count, rows["message"].bytes) == (3, 2, 192)
    assert figures.take(line(core=1, connected_total=5, connections=5))["connect"].requests == 5
    assert figures.connections == 8
    later = line(
        histograms={"connect_latency_us": histogram(_70=3), "message_latency_us": histogram(_80=2)},
        connected_total=4,
        connect_undone_total=1,
        connections=1,
        failed={"ECONNREFUSED": 3},
        lost={"reset": 2},
        messages_total=3,
        messages_mismatched_total=1,
        recv_bytes_total=200,
        pushes_total=2,
        pushes_overdue_total=1,
        churned_total=1,
        churn_lost={"fin": 1},
        broadcasts_received_total=3,
        broadcasts_missed_total=1,
    )
    rows = figures.take(later)
    assert (rows["connect"].requests, rows["connect"].failures) == (0, {"lost: reset": 2})
    assert (rows["message"].requests, rows["message"].failures) == (1, {"not what was sent": 1})
    assert (rows["push"].requests, rows["push"].failures) == (2, {"overdue": 1})
    assert (rows["short connection"].requests, rows["short connection"].failures) == (2, {"lost: fin": 1})
    assert (rows["broadcast"].requests, rows["broadcast"].failures) == (4, {"missed": 1})
    assert figures.take(later) == {}, "nothing is counted twice"
    assert figures.connections == 6


def test_other_lines_are_passed_over() -> None:
    """A client may say other things as well."""
    assert Line.read(b"opening 10\n") is None
    assert Line.read(b"[1]\n") is None
    assert Line.read(b'{"schema": "megaconn.other/1"}\n') is None
    read = Line.read(b'{"schema": "megaconn.core/1", "core": 1, "connections": 7, "later": {"a": 1}}\n')
    assert read is not None and read.n("connections") == 7 and read.named("lost") == {}
