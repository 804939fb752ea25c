"""Tests of the console: plain lines into files, the whole plan on a terminal, no escape sequences without one."""

import contextlib
import fcntl
import io
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console as RichConsole

from memphis import REPOSITORY
from memphis.engine.plan import Step, expected_seconds
from memphis.formatting import duration, percent, printable, rounded
from memphis.runs import console
from memphis.runs.console import Console
from memphis.store import Stage, Store, write_json

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


def plan(*names, built=()):
    return [Step(stage(name), None if name in built else "not built", name not in built) for name in names]


def record(seconds=1.0, **summary):
    return {"seconds": seconds, "summary": summary}


def play(out):
    with Console(plan("data", "sft", "pairs-1", built=("data", "pairs-1")), stream=out) as shown:
        shown.finished(stage("data"), record(), True)
        shown.started(stage("sft"))
        for k in range(1, 11):
            row = {"step": k, "steps": 10, "sft/loss": 1 / k, "perf/tokens_per_sec": 9123.0, "perf/mfu": None}
            shown.rows(stage("sft"), k - 1, [row])
        shown.message("tracking: hello")
        shown.finished(stage("sft"), record(72.0, loss=0.1), False)
        shown.rows(stage("pairs-1"), 0, [{"pairs/count": 634, "pairs/questions_with_pair_frac": 0.321}])
        shown.finished(stage("pairs-1"), record(), True)


@pytest.mark.parametrize(("name", "text"), [("heldout", "held-out loss"), ("seen", "loss of trained rows")])
def test_losses_before_and_after_training_stand_side_by_side(name, text):
    out = io.StringIO()
    with Console(plan("sft"), stream=out) as shown:
        shown.started(stage("sft"))
        shown.rows(stage("sft"), 0, [{"step": 1, "steps": 2, "sft/loss": 2.0, f"sft/{name}_before": 1.47}])
        shown.rows(stage("sft"), 1, [{"step": 2, "steps": 2, "sft/loss": 1.0, f"sft/{name}_after": 0.99}])
        shown.finished(stage("sft"), record(72.0), False)
    assert (
        out.getvalue().splitlines()[-1]
        == f"[1/1] sft: done in 1 m 12 s · loss 1.000 · {text} 1.470 before · 0.990 after"
    )


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
    shown = Console(plan("sft", *(f"evaluate-{k}" for k in range(11))), stream=out)
    shown.started(stage("sft"))
    shown.rows(stage("sft"), 0, [{"step": k, "steps": 100, "sft/loss": 1.0} for k in range(1, 5)])
    for k in range(5, 35):
        clock[0] += 1
        shown.rows(stage("sft"), k - 1, [{"step": k, "steps": 100, "sft/loss": 0.5}])
    # a resumed stage has the rows of its first attempt: 1 s a step, regardless of their times
    assert out.getvalue().splitlines()[1:] == [
        "[ 1/12] sft: 19/100 · loss 0.500 · 1 m 21 s left",
        "[ 1/12] sft: 34/100 · loss 0.500 · 1 m 06 s left",
    ]


def sampled(answers, of, seconds_left, suite=None):
    share = answers / of
    return {"answers": answers, "of": of, "share": share, "tokens_per_sec": 104.0, "suite": suite} | {
        "seconds_left": seconds_left
    }


def test_answers_are_counted_inside_a_shard(clock):
    out = io.StringIO()
    shown = Console(plan("generate-1", "evaluate-1"), stream=out)
    shown.started(stage("generate-1"))
    shown.rows(stage("generate-1"), 0, [{"step": 1, "steps": 5, "gen/questions": 256}])
    shown.rows(stage("generate-1"), 1, [{"step": 2, "steps": 5, "gen/questions": 512}])  # of an earlier attempt
    shown.progress(stage("generate-1"), sampled(512, 1280, None) | {"tokens_per_sec": None})
    clock[0] += 16
    shown.rows(stage("generate-1"), 2, [{"step": 3, "steps": 5, "gen/questions": 768}])
    clock[0] += 16
    shown.progress(stage("generate-1"), sampled(800, 1280, 45.0))
    shown.progress(stage("generate-1"), sampled(801, 1280, 44.0))
    shown.finished(stage("generate-1"), record(3.0), False)
    shown.started(stage("evaluate-1"))
    clock[0] += 33
    shown.progress(stage("evaluate-1"), sampled(0, 1, None) | {"of": 0})  # no request yet: nothing to say
    shown.progress(stage("evaluate-1"), sampled(37, 1319, 30.0, "tiny"))
    assert out.getvalue().splitlines() == [
        "[1/2] generate-1: started",
        "[1/2] generate-1: 3/5 · 512 of 1,280 answers",
        "[1/2] generate-1: 3/5 · 800 of 1,280 answers · 104 tokens/s · 45 s left",
        "[1/2] generate-1: done in 3.0 s",
        "[2/2] evaluate-1: started",
        "[2/2] evaluate-1: 37 of 1,319 answers · 104 tokens/s · 30 s left in suite tiny",
    ]


def test_a_terminal_counts_answers_and_the_time_they_leave(terminal, clock):
    shown = Console(plan("generate-1"), stream=terminal)
    shown.started(stage("generate-1"))
    shown.progress(stage("generate-1"), sampled(640, 1280, 45.0))
    clock[0] += 5
    view = RichConsole(width=100, file=io.StringIO())
    view.print(shown._view(100, 20))
    text = view.file.getvalue()
    shown.close()
    assert "640 of 1,280 answers · 104 tokens/s" in text
    assert "about 40 s left" in text


def test_a_stage_that_starts_late_does_not_say_its_first_row_at_once(clock):
    out = io.StringIO()
    shown = Console(plan("merge-1"), stream=out)
    clock[0] += 100
    shown.started(stage("merge-1"))
    shown.rows(stage("merge-1"), 0, [{"merge/drift": 0.1}])
    clock[0] += 100
    shown.rows(stage("merge-1"), 1, [{"merge/drift": 0.1}])  # nothing that the console tells
    assert out.getvalue().splitlines() == ["[1/1] merge-1: started"]


def test_scores_of_an_evaluation():
    out = io.StringIO()
    columns = {"tiny/word": {"score": 0.453, "stderr": 0.0203}, "tiny/choice": {"score": 0.25, "stderr": None}}
    Console(plan("evaluate-1"), stream=out).finished(stage("evaluate-1"), record(3.0, columns=columns), False)
    assert out.getvalue() == "[1/1] evaluate-1: done in 3.0 s · tiny/word 45.3 ± 2.0 %, tiny/choice 25.0 %\n"


def test_terminal_has_the_plan_and_leaves_plain_lines(terminal):
    play(terminal)
    text = terminal.getvalue()
    assert f"{ESCAPE}[?25l" in text
    assert "2/3 stages" in text
    assert "running sft" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    left = text[text.rindex(f"{ESCAPE}[?25h") :]  # after the plan was removed
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
        Console([], stream=out).message("[bold]kept[/bold] \x1b]0;title\x07 \u202eevil")
        assert "[bold]kept[/bold] \ufffd]0;title\ufffd \ufffdevil" in out.getvalue()


def test_a_reader_that_has_gone_fails_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    play(Gone())
    closed = io.StringIO()
    shown = Console([], stream=closed)
    closed.close()
    shown.message("nobody hears")


def test_a_narrow_encoding_fails_nothing():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console([], stream=out).message("45 ± 2")
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


def drawn(shown, width, height):
    """Return the lines of the view on a terminal of this size."""
    screen = RichConsole(file=io.StringIO(), width=width, height=height, legacy_windows=False)
    screen.print(shown._view(width, height))
    return screen.file.getvalue().splitlines()


RECIPE = ["data", "base", "sft", *(f"{kind}-{k}" for k in (1, 2, 3) for kind in ("generate", "pairs", "rank", "merge"))]


@pytest.fixture
def ranking(clock):
    """Return the console of a run of 15 stages that is half through its second rank stage."""
    shown = Console(plan(*RECIPE, built=("data", "base")), stream=io.StringIO())
    for name in RECIPE[2:9]:
        shown.started(stage(name))
        clock[0] += 3
        if name.startswith("pairs"):
            counts = {"gen/pass@1": 0.412, "pairs/count": 634, "pairs/questions_with_pair_frac": 0.321}
            shown.rows(stage(name), 0, [{"pairs/s/chosen_false_frac": 0.3, "pairs/chosen_false_frac": 0.489}, counts])
        shown.finished(stage(name), record(3.0), False)
    shown.started(stage("rank-2"))
    for k in range(1, 6):
        clock[0] += 1
        shown.rows(stage("rank-2"), k - 1, [{"step": k, "steps": 10, "rank/loss": 0.4, "perf/tokens_per_sec": 9123.0}])
    return shown


def test_the_view_shows_every_stage_with_its_state(ranking):
    lines = drawn(ranking, 80, 24)
    assert lines[0].rstrip() == "9/15 stages · at least 5.0 s left · 26 s so far"  # the other stages have no estimate
    assert len(lines) == 1 + 15 + 1
    wide = drawn(ranking, 140, 24)
    assert "634 pairs · 32 % of questions gave one · 49 % of the chosen have a false equation" in wide[9]
    assert lines[1].split() == ["1", "store", "data"]
    assert lines[8].split() == ["8", "done", "generate-2", "3.0", "s"]
    assert "41.2 % right · 634 pairs · 32 %" in lines[9]
    assert re.search(r"running +rank-2 +5.0 s +5/10 · loss 0.400 · 9.12k tokens/s", lines[10])
    assert "5.0 s left" in lines[11]
    assert lines[12].split() == ["11", "to", "do", "merge-2"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("width", "height"), [(40, 12), (40, 5), (80, 6), (30, 3), (60, 4)])
def test_a_small_terminal_shows_what_runs_and_its_neighbours(ranking, width, height):
    lines = drawn(ranking, width, height)
    assert len(lines) < height or height == 3
    assert max(map(len, lines)) <= width
    assert any("running" in line for line in lines)
    if height > 6:
        assert any("pairs-2" in line for line in lines)
        assert any("merge-2" in line for line in lines)
    if width == 40:
        assert lines[1].startswith("5/10 · loss 0.400 · 9.12k tokens/s")


def test_the_time_left_is_told_only_as_far_as_it_is_known(clock):
    """Check by hand: a stage takes as long as the last one of its kind and config; the others are not guessed."""
    alike = {name: Stage(name, name.split("-")[0], 1, {"a": 1}, seed=k) for k, name in enumerate(RECIPE)}
    steps = [Step(one, "not built", True) for one in alike.values()]
    shown = Console(steps, {alike["sft"].key: 10.0}, io.StringIO())
    assert shown._left() == "at least 10 s left"
    for name in ("data", "base"):
        shown.finished(alike[name], record(1.0), False)
    shown.started(alike["sft"])
    clock[0] += 4
    assert shown._left() == "at least 6.0 s left"
    clock[0] += 40
    assert shown._left() == "at least 0.0 s left"  # never negative
    shown.finished(alike["sft"], record(44.0), False)
    for name in ("generate-1", "pairs-1", "rank-1", "merge-1"):
        shown.started(alike[name])
        shown.finished(alike[name], record(2.0), False)
    assert shown._left() == "about 16 s left"  # two cycles of four stages


def test_earlier_records_of_the_same_work_give_the_expected_seconds(tmp_path):
    def built(one, seconds, finished, host=None):
        path = tmp_path / one.directory
        path.mkdir()
        host = host or socket.gethostname()
        write_json(path / "stage.json", {**one.spec(), "seconds": seconds, "finished": finished, "host": host})

    def sft(seed, epochs=3):
        return Stage("sft", "sft", 1, {"epochs": epochs}, seed=seed)

    built(sft(1), 50.0, 100.0)
    built(sft(2), 70.0, 200.0)
    built(sft(3), 1.0, 300.0, host="elsewhere")
    built(sft(4, epochs=9), 1.0, 400.0)
    steps = [Step(sft(0), "not built", True), Step(Stage("x", "merge", 1, {}), "not built", True)]
    assert expected_seconds(steps, Store(tmp_path)) == {sft(0).key: 70.0}


IN_A_TERMINAL = """
import time
from tests.test_console import plan, record, stage
from memphis.runs.console import Console
with Console(plan("data", "sft", "pairs-1", "rank-1", built=("data",))) as shown:
    shown.finished(stage("data"), record(), True)
    shown.started(stage("sft"))
    shown.rows(stage("sft"), 0, [{"step": 3, "steps": 10, "sft/loss": 0.5, "perf/tokens_per_sec": 9123.0}])
    time.sleep(0.7)
    shown.message("something was said")
    shown.finished(stage("sft"), record(72.0), False)
print("the end")
"""


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 12)])
def test_in_a_real_terminal_the_view_goes_and_the_lines_stay(columns, lines, monkeypatch):
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    environment = {**clean, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", IN_A_TERMINAL]
    child = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, cwd=REPOSITORY, env=environment)
    os.close(side)
    written = b""
    with contextlib.suppress(OSError):  # Linux raises when the other side is closed
        while more := os.read(main, 65536):
            written += more
    os.close(main)
    assert child.wait() == 0
    text = written.decode().replace("\r\n", "\n")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"running +sft", seen)
    assert "loss 0.500" in seen
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again
    view, mark, rest = seen.rpartition("[1/4] data: taken from the store")
    for row in view.splitlines():
        assert len(row.rsplit("\r", 1)[-1]) <= columns
    left = mark + rest
    assert left.splitlines() == ["[1/4] data: taken from the store", left.splitlines()[1], "the end"]
    assert left.splitlines()[1].startswith("[2/4] sft: done in 1 m 12 s · loss 0.500")
