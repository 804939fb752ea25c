"""Tests of report.html and the committed folders: well-formed, safe and reproducible."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from experiments import report
from experiments.report import folders, plots, tables
from experiments.report.__main__ import main
from experiments.report.arms import group
from experiments.report.plots import Series
from experiments.report.results import find_runs, read_run
from memphis.errors import MemphisError
from tests.experiments import made_up
from tests.experiments.made_up import config_of

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e{k} <!--"
COUNTS = {"base": 0, "sft": 60, "1": 62, "2": 64, "3": 66}


@pytest.fixture
def runs(tmp_path):
    """Write two seeds of memphis and its control; the models' texts try to break out of the page."""
    made = []
    for seed in (0, 1):
        made.append(made_up.run(tmp_path, config_of(), seed, COUNTS | {"3": 60 + 2 * seed}, text=EVIL))
        control = {"base": 0, "sft": 60, "sft-continued": 70}
        made.append(made_up.run(tmp_path, config_of("method=sft_continued"), seed, control, text=EVIL))
    return made


class Elements(HTMLParser):
    """Parser that lists tags in order with their attributes, and fails on a closing tag without an open one."""

    VOID = ("meta", "link", "input")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def comparison_of(runs):
    return group([read_run(path) for path in runs])


def test_one_file_that_needs_nothing_and_lets_nothing_out(runs):
    report.compare(runs)
    pages = [runs[0] / "report.html", *runs[0].parents[2].glob("comparisons/*/report.html")]
    assert len(pages) == 2
    for file in pages:
        page = file.read_text()
        tags = Elements(page).tags
        assert [attributes for tag, attributes in tags if tag == "script"] == [
            {"type": "application/json", "id": "samples-data"},
            {},
        ]
        assert not {"img", "iframe", "object", "style"} & {tag for tag, _ in tags} - {"style"}
        assert not [a for _, attributes in tags for a in attributes if a.startswith("on")]
        assert not re.search(r"https?://|@import|url\(", page)
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
        assert page.count("alert(1)") == page.count(r"\u003cscript\u003ealert(1)\u003c/script\u003e")
        assert len(page) < 200_000


def test_a_name_that_is_markup_is_text(runs):
    run = read_run(runs[0]) | {"name": "<b>x</b>", "slug": '"><script>'}
    facts = {"note": "<i>", "changed": "", "time": "", "cost": "", "rows": ""}
    tags = [tag for tag, _ in Elements(report.page.run_page(run, None, None, facts)).tags]
    assert "b" not in tags
    assert "script" not in tags


def test_the_run_page_shows_the_control_once_it_is_there(runs):
    report.finish(runs[0])
    page = (runs[0] / "report.html").read_text()
    assert "control: SFT continued" in page
    assert "With the control: Word problems" in page
    for heading in ("Results", "Samples, pairs, drift", "Training", "What ran", "Configuration"):
        assert f"<h2>{heading}</h2>" in page
    for title in ("accuracy by iteration", "Right answers among samples", "Pair yield", "Training loss by step"):
        assert title in page
    assert page.count("Texts with a false equation") >= 2  # a plot and a table
    assert "<td>all</td><td>53.0</td><td>60.0</td><td>0.0</td>" in page


def test_the_same_runs_give_the_same_files(runs):
    def files():
        report.compare(runs)
        return {
            file: file.read_bytes()
            for file in sorted([*runs[0].glob("report.html"), *runs[0].parents[2].glob("comparisons/*/*")])
        }

    first = files()
    assert len(first) == 6
    assert files() == first


def test_a_multirun_ends_with_the_table_and_where_the_report_is(runs):
    text = report.compare(runs)
    assert re.search(r"^memphis +30\.5 ± 0\.7 +2 +\+0\.5 ± 0\.5 +-4\.5 ± 0\.5 +-10\.9 to \+1\.9 +0\.070$", text, re.M)
    assert re.search(r"^sft_continued +35\.0 ± 0\.0 +2 +\+5\.0 ± 0\.0 +baseline", text, re.M)
    assert re.search(r"^report +.*/comparisons/tiny-[0-9a-f]{8}/report\.html$", text, re.M)
    assert report.compare(runs[:1]) == report.compare([]) == ""


def test_a_damaged_run_does_not_end_a_multirun_with_a_trace(runs):
    (runs[0] / "run.json").write_text("")
    assert report.compare(runs).startswith("no comparison: ")


def test_csv_has_every_score_with_its_count(runs):
    report.compare(runs)
    (file,) = runs[0].parents[2].glob("comparisons/*/results.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert len(rows) == 2 * 5 + 2 * 3
    assert rows[4] | {"stderr": ""} == {
        **{"arm": "memphis", "method": "memphis", "seed": "0", "status": "finished", "model": "iteration 3"},
        **{"iteration": "3", "column": "tiny/tiny_gen", "count": "60", "n": "200", "score": "0.3", "stderr": ""},
        **{
            "steps": "80",
            "trained_tokens": "4000",
            "generated_tokens": "15000",
            "seconds": "130.0",
            "cpu_seconds": "195.0",
        },
    }


def test_gains_over_sft_are_told_per_cost_beyond_sft(tmp_path):
    sft = {"base": 0, "sft": 50}
    cycles = {"1": 50, "2": 50, "3": 60}
    runs = [made_up.run(tmp_path, config_of("method=memphis"), 0, {**sft, **cycles})]
    runs.append(made_up.run(tmp_path, config_of("method=sft_only", "iterations=0"), 0, sft))
    header, row = tables.gain_table(comparison_of(runs), "tiny/tiny_gen")
    assert header[1:] == ["in all", "per million trained tokens", "per million generated tokens", "per CPU minute"]
    # 60 - 50 of 200; 3 rank stages of 1,000 tokens, 15,000 generated ones, 12 stages of 15 seconds
    assert row == ["memphis", "+5.0", f"{5 / 0.003:+.2f}", f"{5 / 0.015:+.2f}", f"{5 / 3:+.2f}"]
    assert tables.gain_table(comparison_of(runs[:1]), "tiny/tiny_gen") == []


@pytest.fixture
def folder(tmp_path, runs):
    made = tmp_path / "experiments" / "tiny"
    made.mkdir(parents=True)
    (made / "README.md").write_text(
        "# Question\n\n<!-- results:begin -->\nof yesterday\n<!-- results:end -->\n\nReading.\n"
    )
    folders.save(comparison_of(runs), made)
    return made


def test_a_folder_holds_what_was_found_and_no_path_of_this_machine(folder, runs, tmp_path):
    text = (folder / "results.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["arms"][0]["runs"][1]["scores"][-1]["columns"]["tiny/tiny_gen"]["count"] == 62
    again, before = folders.load(folder / "results.json"), comparison_of(runs)
    assert again.columns.keys() == before.columns.keys()
    assert [arm.scores("tiny/tiny_gen") for arm in again.arms] == [arm.scores("tiny/tiny_gen") for arm in before.arms]
    page = (folder / "README.md").read_text()
    assert page.startswith("# Question\n")
    assert page.endswith("\n\nReading.\n")
    assert "of yesterday" not in page
    assert "| memphis | 30.5 ± 0.7 | 2 | +0.5 ± 0.5 | -4.5 ± 0.5 | -10.9 to +1.9 | 0.070 |" in page
    assert folders.check(folder.parent) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "30.5", "39.5"),
        ("results.csv", "0.3,", "0.9,"),
        ("figure.svg", "memphis", "best"),
        ("results.json", ": 62,", ": 63,"),
    ],
)
def test_the_check_notices_what_was_changed_by_hand(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    drifted = folders.check(folder.parent)
    assert drifted
    assert name == "results.json" or drifted == [f"{folder / name}: not what results.json says"]


def test_the_check_of_this_repository_passes(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_folder_without_a_place_for_results_is_refused(tmp_path, runs):
    with pytest.raises(MemphisError, match=r"no lines <!-- results:begin --> and"):
        folders.save(comparison_of(runs), tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_results_that_are_something_else_are_refused(tmp_path):
    (tmp_path / "results.json").write_text('{"schema": 2}')
    with pytest.raises(MemphisError, match=r"results.json: not results of .*schema 2"):
        folders.load(tmp_path / "results.json")


def test_the_slerp_folder_shows_the_drift_too(tmp_path):
    config = config_of()
    for t in (0.0, 0.5, 0.99):
        made_up.run(tmp_path, {**config, "slerp": {**config["slerp"], "t": t}}, 0, COUNTS)
    drawings = report.figures.of_folder(comparison_of(find_runs([tmp_path])))
    assert "by slerp.t" in drawings[0]
    assert "Drift of the last model from SFT, by slerp.t" in drawings[-1]


def test_points_are_where_their_numbers_are():
    """Check two points, 0 and 100 %: the ticks 0 and 100 are at the ends of the axis, and so are the markers."""
    drawing = plots.lines("t", [Series("a", [(0, 0.0, None), (1, 100.0, 20.0)], 0)], "x", "y")
    ticks = {label: float(y) - 4 for y, label in re.findall(r'y="([\d.]+)" class="soft end">(\d+)<', drawing)}
    markers = [float(y) for y in re.findall(r'class="f0" d="M[\d.]+ ([\d.]+)', drawing)]
    assert markers[:2] == [ticks["0"], ticks["100"]]
    bar = re.search(r'stroke-width="1.5" d="M[\d.]+ ([\d.]+)v([\d.]+)', drawing)
    per_point = (ticks["0"] - ticks["100"]) / 100
    assert float(bar[2]) == pytest.approx(40 * per_point, abs=0.1)  # from -20 to +20 points
