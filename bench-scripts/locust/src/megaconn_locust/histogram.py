"""Histograms of megaconn in the buckets of Locust."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import locust.stats

Bucket = Callable[[float], float]

# Below so many ms Locust's own buckets, which are whole ms, say little of a network.
FINE_MS = 10.0


def _rounded(ms: float) -> float:
    """What Locust does before the version that has a function for it."""
    digits = 0 if ms < 100 else -1 if ms < 1_000 else -2 if ms < 10_000 else -3
    return int(round(ms, digits))


_LOCUSTS: Bucket = getattr(locust.stats, "bucket_response_time", _rounded)


def key_of(ms: float) -> float:
    """The key of a time in `response_times`: Locust's, and two digits of those below 10 ms.

    A `locust.stats.bucket_response_time` that was replaced says what it is.
    """
    bucket: Bucket = getattr(locust.stats, "bucket_response_time", _rounded)
    if bucket is _LOCUSTS and ms < FINE_MS:
        return float(f"{ms:.2g}")
    return bucket(ms)


@lru_cache(maxsize=4096)
def bounds_us(index: int, grouping_power: int) -> tuple[int, int]:
    """The least and the most microseconds of a bucket."""
    linear = 2 << grouping_power
    if index < linear:
        return index, index
    octave, step = divmod(index - linear, linear // 2)
    width = 2 << octave
    least = (linear << octave) + step * width
    return least, least + width - 1


class Times:
    """How often which time was measured, by the buckets of a histogram of megaconn."""

    def __init__(self, counts: dict[int, int] | None = None, grouping_power: int = 5) -> None:
        self.counts = counts or {}
        self.grouping_power = grouping_power

    @classmethod
    def read(cls, histogram: object) -> Times:
        """As it stands in a line of figures."""
        if not isinstance(histogram, dict):
            return cls()
        counts = dict(zip(histogram["index"], histogram["count"], strict=True))
        return cls(counts, histogram["config"]["grouping_power"])

    def since(self, before: Times) -> Times:
        """What came after `before`."""
        new = {at: n - before.counts.get(at, 0) for at, n in self.counts.items()}
        return Times({at: n for at, n in new.items() if n > 0}, self.grouping_power)

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.counts.values())

    def keyed(self) -> dict[float, int]:
        """As `response_times` of Locust; each counts as the middle of its bucket."""
        keyed: dict[float, int] = {}
        for at, n in self.counts.items():
            key = key_of(self._middle_ms(at))
            keyed[key] = keyed.get(key, 0) + n
        return keyed

    def sum_ms(self) -> float:
        """Of all."""
        return sum(n * self._middle_ms(at) for at, n in self.counts.items())

    def least_ms(self) -> float:
        """Of the first bucket."""
        return bounds_us(min(self.counts), self.grouping_power)[0] / 1_000

    def most_ms(self) -> float:
        """Of the last bucket."""
        return bounds_us(max(self.counts), self.grouping_power)[1] / 1_000

    def _middle_ms(self, at: int) -> float:
        return sum(bounds_us(at, self.grouping_power)) / 2_000
