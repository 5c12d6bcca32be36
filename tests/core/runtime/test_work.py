"""How fast, how long still, and in which words."""

import numpy as np
import pytest

from tests.suites.progress import FakeClock
from xfer.runtime.work import WINDOW, Work, duration, rate_text


def work(clock, total=1000, unit="images", **options):
    return Work("extracting features", total, unit, clock.now, **options)


def test_a_line():
    clock = FakeClock()
    made = work(clock, total=50_000)
    assert made.line() == "extracting features: 0 of 50,000 images, 0 s so far"
    for i in range(63):
        clock.pass_by(1)
        made.reach(200 * i)
    assert made.line() == "extracting features: 12,400 of 50,000 images, 200/s, 3 min left"
    made.note = "loss 0.2134"
    assert made.line().endswith(", 3 min left, loss 0.2134")
    endless = work(clock, total=None, unit="MB")
    clock.pass_by(12)
    assert endless.line() == "extracting features: 0 MB, 12 s so far"
    waiting = Work("loading torch", None, "", clock.now)
    clock.pass_by(150)
    assert waiting.line() == "loading torch: 2 min so far"


@pytest.mark.parametrize("seed", range(5))
def test_rate_and_time_left_are_those_of_the_whole_history(seed):
    """By brute force: of what was done since half a minute ago, or since the first report."""
    rng, clock = np.random.default_rng(seed), FakeClock()
    made, history = work(clock, total=100_000, done=40), []
    for _ in range(300):
        clock.pass_by(rng.uniform(0.5, 4.0))
        made.reach(made.done + int(rng.integers(0, 300)))
        history.append((clock.time, made.done))
        old = [each for each in history if clock.time - each[0] >= WINDOW]
        then, before = old[-1] if old else history[0]
        clock.pass_by(rng.uniform(0.5, 3.0))
        rate = (made.done - before) / (clock.time - then)
        assert made.rate() == pytest.approx(rate)
        assert made.seconds_left() == (pytest.approx((100_000 - made.done) / rate) if rate else None)


def test_many_reports_a_second_are_not_kept():
    """A steady rate is found all the same, and how slow the first report was says nothing about the rest."""
    clock = FakeClock()
    made = work(clock, total=1_000_000)
    clock.pass_by(90)  # a network is compiled
    for _ in range(20_000):
        made.reach(made.done + 5)
        clock.pass_by(0.01)
    assert made.rate() == pytest.approx(500, rel=1e-3)
    assert made.seconds_left() == pytest.approx(900_000 / 500, rel=1e-3)
    assert len(made._samples) < 100


def test_a_stall_is_seen():
    clock = FakeClock()
    made = work(clock)
    for _ in range(10):
        made.reach(made.done + 10)
        clock.pass_by(1)
    before = made.rate()
    clock.pass_by(1000)
    assert made.rate() < before / 50
    assert made.seconds_left() > 9000


def test_more_than_all_takes_no_negative_time():
    clock = FakeClock()
    made = work(clock, total=10)
    made.reach(5)
    clock.pass_by(2)
    made.reach(15)
    assert made.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5_900, "98 min"),
        (7_830, "2 h 10 min"),
        (86_400, "24 h 0 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_rates():
    assert [rate_text(rate) for rate in (12_345.6, 99.6, 9.94, 1.25, 0.123, 0.0)] == [
        "12,346",
        "100",
        "9.9",
        "1.2",
        "0.12",
        "0",
    ]


def test_a_name_is_one_line_without_control_characters():
    made = Work("phase\n\x1b[31m", 3, "images", FakeClock().now)
    assert made.line().startswith("phase??[31m: 0 of 3")
