"""Lines in a log, the line of a notebook, and bars in a terminal, by a clock that nobody waits for."""

import io
import os
import re
import sys
from contextlib import redirect_stderr

import numpy as np
import pytest
from rich.console import Console

from tests.suites.progress import FakeClock
from xfer.runtime import bar, progress
from xfer.runtime.bar import Bars, row
from xfer.runtime.display import Lines, OneLine
from xfer.runtime.messages import Messages
from xfer.runtime.work import Work


@pytest.fixture
def clock(monkeypatch):
    made = FakeClock()
    monkeypatch.setattr(progress, "CLOCK", made)
    return made


@pytest.fixture
def log(capsys):
    """What stands in a log by now."""
    return lambda: capsys.readouterr().err


def test_a_long_pass_in_a_log_is_a_line_a_minute(clock, log):
    with progress.show_progress(), progress.work("extracting features", 50_000) as report:
        for _ in range(1_600):
            clock.pass_by(0.125)
            report.advance(25)
    assert log().splitlines() == [
        "extracting features: 11,975 of 50,000 images, 199/s, 3 min left",
        "extracting features: 23,975 of 50,000 images, 199/s, 2 min left",
        "extracting features: 35,975 of 50,000 images, 199/s, 70 s left",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_never_more_than_a_line_a_minute_and_none_of_what_is_short(clock, monkeypatch, seed):
    """Any work, one inside of the other, short and long: a minute at least between lines, and long work has them."""
    times = []

    class Timed(io.StringIO):
        def write(self, text):
            times.append(clock.time)
            return len(text)

    monkeypatch.setattr("sys.stderr", Timed())
    rng, began = np.random.default_rng(seed), clock.time

    def pass_over(depth):
        with progress.work("evaluating", 100) as report:
            for _ in range(100):
                clock.pass_by(rng.choice([0.01, 0.5, 5.0]))
                report.advance()
                if depth and rng.random() < 0.05:
                    pass_over(depth - 1)
                if rng.random() < 0.05:
                    with progress.step("compiling"):
                        clock.pass_by(rng.choice([1.0, 30.0, 200.0]))

    with progress.show_progress():
        pass_over(2)
    gaps = np.diff([*times, clock.time])
    assert min(gaps[:-1]) > 59.999
    assert max([times[0] - began, *gaps]) < 61 + 60
    assert len(times) > 3

    times.clear()
    with progress.show_progress():
        for _ in range(500):
            with progress.work("evaluating", 100) as report:
                clock.pass_by(1)
                report.advance(100)
            with progress.step("building"):
                clock.pass_by(2)
    assert not times


def test_what_is_waited_for_is_named_after_a_while_though_nothing_is_reported(clock, log):
    with progress.show_progress():
        with progress.step("loading tensorflow"):
            clock.pass_by(29)
        with progress.step("starting Ray"):
            clock.pass_by(65)
        with progress.work("evaluating", 100), progress.step("tracing the network"):
            clock.pass_by(200)
    assert log().splitlines() == [
        "starting Ray: 30 s so far",
        "tracing the network: 30 s so far",
        "tracing the network: 90 s so far",
        "tracing the network: 2 min so far",
    ]


def test_other_lines_put_off_the_next(clock, log):
    with progress.show_progress(), progress.work("epoch 1/9", 1_000, "images") as report:
        for i in range(30):
            clock.pass_by(7)
            report.advance(10)
            progress.note(f"loss {i}")
            if i % 5 == 4:
                progress.say(f"line {i}")
    assert log().splitlines() == [f"line {i}" for i in (4, 9, 14, 19, 24, 29)]


def test_hidden_is_hidden_and_nobody_asked_is_silent(clock, log):
    def long_work():
        with progress.work("evaluating", 100) as report:
            for _ in range(100):
                clock.pass_by(10)
                report.advance()

    long_work()
    with progress.show_progress(False), progress.show_progress():
        long_work()
    with progress.show_progress(), progress.show_progress(False), progress.show_progress():
        long_work()
    assert log() == ""
    with progress.show_progress(), progress.show_progress():
        long_work()
    assert log().count("\n") == 16
    progress.say("a warning")
    assert log() == "a warning\n"


def test_one_process_of_several_shows_it(clock, log, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with progress.show_progress(), progress.step("loading torch"):
        clock.pass_by(1000)
    assert log() == ""


def test_a_notebook_has_one_line(clock):
    out = io.StringIO()
    display = OneLine(Messages(out), clock)
    first, second = Work("epoch 1/2", 100, "images", clock.now), Work("validating", 10, "images", clock.now)
    display.began(first)
    for i in range(100):
        clock.pass_by(0.1)
        first.reach(i + 1)
        display.changed()
    display.began(second)
    display.ended(second)
    display.say("epoch 1  loss 0.1")
    display.ended(first)
    assert 15 <= out.getvalue().count("epoch 1/2: ") <= 21, "twice a second"
    assert screen(out.getvalue()) == ["epoch 1  loss 0.1", ""]


def screen(text):
    """What stands there in the end, where carriage returns go back to the beginning of the line."""
    lines = [""]
    for part in re.split(r"(\r\n|\n|\r)", text):
        if part in ("\n", "\r\n"):
            lines.append("")
            column = 0
        elif part == "\r":
            column = 0
        else:
            column = 0 if not lines[-1] else column
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", [10, 20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_row_fits_any_width(clock, width, encoding):
    long = Work("head epoch 10/100 of a phase with a long name", 123_456, "images", clock.now)
    wide = Work("画像の特徴", 123_456, "images", clock.now)
    wait = Work("reading the weights of efficientnet_lite0", None, "", clock.now)
    for work in (long, wide):
        work.reach(12)
        clock.pass_by(10)
        work.reach(100_000)
        work.note = "loss 0.1234"
    out = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    for work in (long, wait, *([wide] if encoding == "utf-8" else [])):
        console = Console(file=out, width=width)
        lines = console.render_lines(row(work, width), pad=False)
        assert len(lines) == 1
        text = "".join(segment.text for segment in lines[0])
        assert Console().measure(text).maximum < width
        if width >= 40 and work.counted:
            assert "81%" in text or "100,000/123,456 images" in text
        if width >= 80 and work.counted:
            assert "/s, " in text
            assert " s left" in text
            assert ("━" if encoding == "utf-8" else "---") in text
        console.print(row(work, width))


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 60 columns as stderr, and what was written to it."""
    import fcntl
    import pty
    import struct
    import termios

    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    stream = os.fdopen(writing, "w", buffering=1)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    os.set_blocking(reading, False)

    def written():
        found = b""
        while True:
            try:
                found += os.read(reading, 65536)
            except BlockingIOError:
                return found.decode()

    yield stream, written
    stream.close()
    os.close(reading)


def a_pass(clock, terminal):
    """What is written to the terminal meanwhile."""
    stream, written = terminal
    with redirect_stderr(stream), progress.show_progress():
        with progress.step("loading torch"):
            clock.pass_by(0.9)
        with progress.work("evaluating", 1000) as report:
            report.advance(1)
            clock.pass_by(0.875)
            report.advance(99)
            clock.pass_by(0.125)
            progress.say("a line that stays")
    return written()


def test_bars_come_and_go_in_a_terminal(clock, terminal):
    said = a_pass(clock, terminal)
    assert "evaluating" in said
    assert "loading" not in said, "it was over in a moment"
    assert "\x1b[?25" not in said, "the cursor is left alone"
    shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said)
    assert "100/1,000 images, 99/s, 9 s left" in shown
    assert re.search("━{3}", shown)
    assert "a line that stays\r\n" in shown
    assert said.endswith("\x1b[2K\r"), "the last line is erased"


def test_lines_that_others_write_stand_above_the_bar(clock, terminal):
    stream, written = terminal
    with redirect_stderr(stream), progress.show_progress(), progress.work("evaluating", 1000):
        clock.pass_by(bar.PATIENCE)
        print("written plainly", file=sys.stderr)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", written())
    assert "\x1b[2Kwritten plainly\r\n" in shown


def test_no_color(clock, terminal, monkeypatch):
    coloured = re.compile(r"\x1b\[[0-9;]*(3[0-9]|9[0-9])m|\x1b\[38;")
    assert coloured.search(a_pass(clock, terminal))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = a_pass(clock, terminal)
    assert "evaluating" in plain
    assert not coloured.search(plain)


def test_a_dumb_terminal_is_a_log(clock, terminal, monkeypatch):
    stream, written = terminal
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(stream), progress.show_progress(), progress.work("evaluating", 1000):
        clock.pass_by(61)
    assert written() == "evaluating: 0 of 1,000 images, 60 s so far\r\n"


def test_forced_colours_do_not_make_a_log_a_terminal(clock, log, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.show_progress(), progress.work("evaluating", 1000):
        clock.pass_by(61)
    assert log() == "evaluating: 0 of 1,000 images, 60 s so far\n"


class Gone(io.StringIO):
    """A stream whose reader has gone, or that was closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    flush = write


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("closed file")])
@pytest.mark.parametrize("kind", [Lines, OneLine, Bars])
def test_a_stderr_that_is_gone_ends_nothing(clock, monkeypatch, error, kind):
    monkeypatch.setattr(Gone, "flush", lambda self: self.write(""))
    monkeypatch.setattr("sys.stderr", Gone(error))
    monkeypatch.setattr(progress, "_display_on", lambda out: kind(out, clock))
    with progress.show_progress(), progress.work("evaluating", 100) as report:
        for _ in range(100):
            clock.pass_by(10)
            report.advance()
        progress.say("a line")
    progress.say("another")


def test_without_stderr_nothing_is_said(clock, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", None)
    with progress.show_progress(), progress.work("evaluating", 100):
        clock.pass_by(100)
        progress.say("a line")
    assert capsys.readouterr().out == ""


def test_what_an_encoding_lacks_is_escaped():
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    Messages(out).line("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    out.flush()
    assert out.buffer.getvalue() == b"caf\\xe9\n"
