"""Tests of report.html in headless Chromium: no errors, quick, usable by script and keyboard, fits small screens."""

from pathlib import Path

import pytest

from experiments import report
from experiments.report.results import find_runs
from tests import micro
from tests.browser import PROGRAM, browser
from tests.experiments import made_up
from tests.test_faults import copy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium here; Debian, Ubuntu: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        yield opened


@pytest.fixture(scope="module")
def demo(unbroken, tmp_path_factory):
    """Run memphis and its control at micro scale, as `make demo` does; return the root. Only the control is built."""
    root = tmp_path_factory.mktemp("demo")
    copy(unbroken, root, "*")
    done = micro.run(root, "method=memphis,sft_continued", "tracking=none", "-m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "minus sft_continued" in done.stdout
    return root


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Return the report of a comparison of twelve arms with three seeds."""
    root = tmp_path_factory.mktemp("sweep")
    report.compare(made_up.sweep(root))
    (file,) = root.glob("comparisons/*/report.html")
    return file


def pages(demo: Path, sweep: Path) -> list[Path]:
    (compared,) = demo.glob("comparisons/*/report.html")
    return [compared, *(path / "report.html" for path in find_runs([demo])), sweep]


def test_every_page_is_quiet_small_and_alone(page, demo, sweep):
    """Check what makes pages quick on any machine: they are small, draw few things and load nothing."""
    for file in pages(demo, sweep):
        page.open(file)
        assert page.complaints == []
        assert page.loaded == [file.as_uri()]
        assert page.run("document.getElementsByTagName('*').length") < 10_000
        assert file.stat().st_size < 2_000_000
        assert page.run("document.querySelectorAll('svg.plot').length") >= 3


def test_the_page_fits_a_small_screen(page, demo, sweep):
    for file in pages(demo, sweep):
        page.open(file, 390)
        assert page.run("document.documentElement.scrollWidth") <= 390
        smallest = (
            "Math.min(...[...document.querySelectorAll('svg.plot text')].map(t => t.getBoundingClientRect().height))"
        )
        assert page.run(smallest) >= 10  # height of a line of text in CSS pixels


def test_dark_paper_has_light_ink(page, demo):
    (file,) = demo.glob("comparisons/*/report.html")
    inks = []
    for dark in (False, True):
        page.open(file, dark=dark)
        script = "[getComputedStyle(document.querySelector('svg.plot .title')).fill, getComputedStyle(document.body).backgroundColor]"
        inks.append([sum(map(int, colour[4:-1].split(","))) for colour in page.run(script)])
    (ink, paper), (dark_ink, dark_paper) = inks
    assert ink < 150 < 600 < paper
    assert dark_paper < 150 < 600 < dark_ink


def test_filters_and_search_work(page, sweep):
    page.open(sweep)
    count = "document.getElementById('count').textContent"
    cards = "document.querySelectorAll('#list article').length"
    assert page.run(count) == "32 of 32 questions"
    assert page.run(cards) == 8
    page.run("document.getElementById('more').click()")
    assert page.run(cards) == 16
    sizes = {}
    for outcome in ("01", "10", "11", "00"):
        page.run(f"document.querySelector('[data-outcome=\"{outcome}\"]').click()")
        sizes[outcome] = int(page.run(count).split()[0])
        marks = page.run(
            "[...document.querySelectorAll('#list article')].map(a => [...a.querySelectorAll('h4')].map(h => h.className))"
        )
        wanted = [{"1": "right", "0": "wrong"}[digit] for digit in outcome]
        assert all([mark[0], mark[-1]] == wanted for mark in marks)
        assert page.run("document.querySelectorAll('[aria-pressed=true]').length") == 1
    assert sum(sizes.values()) == 32
    assert sizes["11"]
    assert sizes["00"]
    page.run("document.querySelector('[data-outcome=all]').click()")
    first = page.run("document.querySelector('#list h3').textContent").split()[-1]
    page.run(
        f"s = document.getElementById('search'); s.value = 'QUESTION {first}'; s.dispatchEvent(new Event('input'))"
    )
    assert 1 <= int(page.run(count).split()[0]) < 32
    page.run("s.value = 'no such words'; s.dispatchEvent(new Event('input'))")
    assert page.run(count) == "0 of 32 questions"
    assert page.complaints == []


def test_what_a_model_wrote_stays_text(page, tmp_path):
    evil = "</script><img src=x onerror=\"document.title='gone'\"><b>{k}</b>"
    config = made_up.config_of()
    run = made_up.run(tmp_path, config, 0, {"base": 0, "sft": 60, "3": 66}, text=evil)
    report.finish(run)
    page.open(run / "report.html")
    assert page.run("document.title") == "tiny, seed 0: memphis"
    assert page.run("document.querySelectorAll('img, #list b').length") == 0
    assert "<img src=x" in page.run("document.getElementById('list').textContent")


def test_the_keyboard_is_enough(page, sweep):
    page.open(sweep)
    reached = []
    for _ in range(60):
        page.press("Tab", 9)
        reached.append(page.run("document.activeElement.dataset.outcome || document.activeElement.id"))
        if reached[-1] == "01":
            assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.press("Enter", 13, "\r")
        if reached[-1] == "search":
            break
    assert {"from", "to", "all", "01", "search"} <= set(reached)
    assert page.run("document.querySelector('[aria-pressed=true]').dataset.outcome") == "01"


def test_it_prints(page, sweep, tmp_path):
    page.open(sweep)
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    page.call("Emulation.setEmulatedMedia", media="")


def test_the_same_command_again_starts_nothing_and_says_the_same(demo):
    before = {file: file.read_bytes() for file in demo.glob("comparisons/*/results.*")}
    done = micro.run(demo, "method=memphis,sft_continued", "tracking=none", "-m")
    assert "started" not in done.stdout
    assert {file: file.read_bytes() for file in before} == before
    assert len(before) == 2
