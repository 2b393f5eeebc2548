"""Rows of figures into Locust's statistics, whole: no event for each message."""

from __future__ import annotations

import time

from locust.stats import RequestStats, StatsEntry, StatsError

from megaconn_locust.figures import Row

METHOD = "TCP"


def add(stats: RequestStats, name: str, row: Row, now: float | None = None) -> None:
    """Adds to the row of this name, and to the sum of all rows."""
    now = time.time() if now is None else now
    for entry in (stats.entries[(name, METHOD)], stats.total):
        entry.extend(_entry(stats, entry, row, now))
    for what, n in row.failures.items():
        _add_error(stats, name, what, n, now)


def add_failures(stats: RequestStats, name: str, what: str, n: int) -> None:
    """Failures of requests that were counted before; those that were none after all with a minus."""
    now = time.time()
    for entry in (stats.entries[(name, METHOD)], stats.total):
        entry.num_failures += n
        second = int(now)
        entry.num_fail_per_sec[second] = entry.num_fail_per_sec.get(second, 0) + n
    _add_error(stats, name, what, n, now)


def _entry(stats: RequestStats, to: StatsEntry, row: Row, now: float) -> StatsEntry:
    """The row as an entry of Locust, which is then added as the report of a worker is."""
    entry = StatsEntry(stats, to.name, to.method)
    entry.start_time = to.start_time
    second, failures, times = int(now), sum(row.failures.values()), row.times
    entry.num_requests = row.requests
    entry.num_none_requests = row.requests - times.count
    entry.num_failures = failures
    entry.total_content_length = row.bytes
    if row.requests:
        entry.last_request_timestamp = now
        entry.num_reqs_per_sec[second] = row.requests
    if failures:
        entry.num_fail_per_sec[second] = failures
    if times.count:
        # Locust says int, and takes what has an order and a sum.
        entry.response_times.update(times.keyed())  # type: ignore[arg-type]
        entry.total_response_time = times.sum_ms()  # type: ignore[assignment]
        entry.min_response_time = times.least_ms()  # type: ignore[assignment]
        entry.max_response_time = times.most_ms()  # type: ignore[assignment]
    return entry


def _add_error(stats: RequestStats, name: str, what: str, n: int, now: float) -> None:
    key = StatsError.create_key(METHOD, name, what)
    error = stats.errors.setdefault(key, StatsError(METHOD, name, what))
    error.occurrences += n
    # Errors of older ones have no times.
    if getattr(error, "first_seen", now) is None:
        error.first_seen = now
    error.last_seen = now
    if error.occurrences <= 0:
        del stats.errors[key]
