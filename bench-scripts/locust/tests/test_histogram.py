"""Histograms of megaconn in Locust's buckets."""

from __future__ import annotations

import locust.stats
import pytest

from megaconn_locust.histogram import Times, bounds_us, key_of


def test_buckets_follow_one_another_up_to_the_last() -> None:
    """As the client has them: 64 of one microsecond, then 32 for each power of two, up to 2^32."""
    assert [bounds_us(at, 5) for at in (0, 63, 64, 65, 95, 96)] == [
        (0, 0),
        (63, 63),
        (64, 65),
        (66, 67),
        (126, 127),
        (128, 131),
    ]
    for at in range(1, 896):
        assert bounds_us(at, 5)[0] == bounds_us(at - 1, 5)[1] + 1
    assert bounds_us(895, 5)[1] == 2**32 - 1


def test_keys_are_those_of_locust_and_finer_below_10_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that was put in Locust's place is asked instead."""
    times = (0.0, 0.01234, 0.999, 9.94, 9.96, 10.4, 147.0, 3_432.0, 58_760.0)
    assert [key_of(ms) for ms in times] == [0, 0.012, 1.0, 9.9, 10.0, 10, 150, 3_400, 59_000]
    monkeypatch.setattr(locust.stats, "bucket_response_time", lambda ms: 7, raising=False)
    assert key_of(0.01) == 7


def test_nothing_is_lost_between_two_looks() -> None:
    """Each time of the difference is there once."""
    before, after = Times({10: 1, 500: 7}), Times({10: 3, 300: 2, 500: 7})
    new = after.since(before)
    assert (new.counts, new.count) == ({10: 2, 300: 2}, 4)
    assert sum(new.keyed().values()) == 4
    least, most = bounds_us(300, 5)
    assert (new.least_ms(), new.most_ms()) == (0.01, most / 1_000)
    assert new.sum_ms() == pytest.approx(0.02 + (least + most) / 1_000)
    assert Times.read(None).count == 0
