"""What is printed where: plain lines into files, one bar on a terminal, never an escape sequence without one."""

import io
import re

import pytest

from memphis import console
from memphis.console import Console, duration, percent, printable, rounded
from memphis.store import Stage

ESCAPE = "\x1b"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def stage(name):
    return Stage(name, name.split("-")[0], 1, {"name": name})


def record(seconds=1.0, **summary):
    return {"seconds": seconds, "summary": summary}


def play(out):
    with Console(3, out) as shown:
        shown.finished(stage("data"), record(), True)
        shown.started(stage("sft"))
        for k in range(1, 11):
            row = {"step": k, "steps": 10, "sft/loss": 1 / k, "perf/tokens_per_sec": 9123.0, "perf/mfu": None}
            shown.rows(stage("sft"), k - 1, [row])
        shown.said("tracking: hello")
        shown.finished(stage("sft"), record(72.0, loss=0.1), False)
        shown.rows(stage("pairs-1"), 0, [{"pairs/count": 634, "pairs/questions_with_pair_frac": 0.321}])
        shown.finished(stage("pairs-1"), record(), True)


def test_plain_lines(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    play(out)
    assert out.getvalue().splitlines() == [
        "[1/3] data: taken from the store",
        "[2/3] sft: started",
        "tracking: hello",
        "[2/3] sft: done in 1 m 12 s · loss 0.100 · 9.12k tokens/s",
        "[3/3] pairs-1: taken from the store · 634 pairs · 32 % of questions gave one",
    ]


def test_plain_progress_is_said_every_fifteen_seconds(clock):
    out = io.StringIO()
    shown = Console(12, out)
    shown.started(stage("sft"))
    shown.rows(stage("sft"), 0, [{"step": k, "steps": 100, "sft/loss": 1.0} for k in range(1, 5)])
    for k in range(5, 35):
        clock[0] += 1
        shown.rows(stage("sft"), k - 1, [{"step": k, "steps": 100, "sft/loss": 0.5}])
    # a resumed stage comes with the rows of its first attempt: 1 s a step, whatever those took
    assert out.getvalue().splitlines()[1:] == [
        "[ 1/12] sft: 19/100 · loss 0.500 · 1 m 21 s left",
        "[ 1/12] sft: 34/100 · loss 0.500 · 1 m 06 s left",
    ]


def test_scores_of_an_evaluation():
    out = io.StringIO()
    columns = {"tiny/word": {"score": 0.453, "stderr": 0.0203}, "tiny/choice": {"score": 0.25, "stderr": None}}
    Console(1, out).finished(stage("evaluate-1"), record(3.0, columns=columns), False)
    assert out.getvalue() == "[1/1] evaluate-1: done in 3.0 s · tiny/word 45.3 ± 2.0 %, tiny/choice 25.0 %\n"


def test_terminal_has_one_bar_and_leaves_plain_lines(terminal):
    play(terminal)
    text = terminal.getvalue()
    assert f"{ESCAPE}[?25l" in text
    assert "10/10" in text
    left = text[text.rindex(f"{ESCAPE}[?25h") :]  # after the last bar has gone
    assert "[2/3] sft: done in 1 m 12 s" in left
    assert "[3/3] pairs-1: taken from the store" in left


def test_no_color_means_no_colour(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    play(terminal)
    assert not re.search(r"\x1b\[(3|4|9|10)[0-7]", terminal.getvalue())


def test_dumb_terminal_gets_plain_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    play(terminal)
    assert ESCAPE not in terminal.getvalue()


def test_text_cannot_steer_the_terminal(terminal):
    for out in (io.StringIO(), terminal):
        Console(1, out).said("[bold]kept[/bold] \x1b]0;title\x07 \u202eevil")
        assert "[bold]kept[/bold] \ufffd]0;title\ufffd \ufffdevil" in out.getvalue()


def test_a_reader_that_has_gone_fails_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    play(Gone())
    closed = io.StringIO()
    shown = Console(1, closed)
    closed.close()
    shown.said("nobody hears")


def test_a_narrow_encoding_fails_nothing():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(1, out).said("45 ± 2")
    out.seek(0)
    assert out.read() == "45 ? 2\n"


def test_numbers():
    assert [duration(s) for s in (0.04, 9.96, 59.4, 59.6, 3599, 3599.6, 7260)] == [
        *("0.0 s", "10 s", "59 s", "1 m 00 s", "59 m 59 s", "1 h 00 m", "2 h 01 m")
    ]
    assert [rounded(n) for n in (0, 950, 999.6, 12_345, 999_600, 4.56e6, 2e9)] == [
        "0",
        "950",
        "1k",
        "12.3k",
        "1M",
        "4.56M",
        "2G",
    ]
    assert (percent(0.4567, 0.0204), percent(1.0, None)) == ("45.7 ± 2.0", "100.0")
    assert printable("a\r\nb\tc\rd\ud800") == "a\nb\tc\ufffdd\ufffd"
