"""Tests of docs/own.md: the commands are taken from the page and run in its order, on tiny checkpoints and made-up rows."""

import gzip
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from memphis.answers.equal import equal
from memphis.data import prompts
from memphis.jsonl import read_rows
from memphis.runs import REPOSITORY
from memphis.store import read_json
from memphis.training.model import fingerprint, load
from tests import commands, offline
from tests.hub import Uploads, put_prepared, uploads, write_lines
from tests.tiny_models import write_taught

PAGE = (REPOSITORY / "docs" / "own.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Command = tuple[str, str]  # as it is typed, and what the page shows of its output


def sections() -> dict[str, list[Command]]:
    """Return the page's commands by heading."""
    found: dict[str, list[Command]] = {}
    for part in PAGE.split("\n## ")[1:]:
        blocks = _BLOCK.findall(part)
        found[part.partition("\n")[0]] = [
            (text.strip(), next((shown for other, shown in blocks[index + 1 : index + 2] if other == "text"), ""))
            for index, (language, text) in enumerate(blocks)
            if language == "bash"
        ]
    return found


SECTIONS = sections()


class Desk:
    """Working directory of a user: `my/` with models and rows, `conf/` with the page's file, a cache of the hub."""

    def __init__(self, root: Path, first: str, second: str, hub: Uploads) -> None:
        self.root, self.hub = root, hub
        rows = [comparison(a, b) for a in range(10) for b in range(10) if a != b]
        self.rows = {row["task"]: row for row in rows}
        shutil.copy(REPOSITORY / "train.py", root)
        shutil.copytree(REPOSITORY / "conf", root / "conf")
        (root / "conf" / "exp" / "mine.yaml").write_text(
            next(text for kind, text in _BLOCK.findall(PAGE) if kind == "yaml")
        )
        (root / "my").mkdir()
        write_lines(root / "my" / "rows.jsonl", rows)
        write_lines(root / "my" / "exam.jsonl", rows[::3])
        texts = [(prompts.render_cot(r["task"]), prompts.completion_cot(r["why"], r["solution"])) for r in rows]
        write_taught(root / "my" / "model", first, texts, steps=70)
        write_taught(root / "my" / "other", second, texts, steps=90)
        put_prepared(root / "hf" / "datasets", "allenai/ai2_arc", "ARC-Easy", [choice(n) for n in range(10)])
        self.environment = offline.environment(
            root / "runs",
            HF_HOME=str(root / "hf"),
            WANDB_MODE="disabled",
            OMP_NUM_THREADS="1",
            OMP_WAIT_POLICY="PASSIVE",
            PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
        )
        self._output: dict[str, list[str]] = {}

    def output(self, heading: str) -> list[str]:
        """Return what the commands below this heading print. They run once, after those above them."""
        for name, typed in SECTIONS.items():
            if name not in self._output:
                self._output[name] = self._section(name, [command for command, _ in typed])
            if name == heading:
                break
        return self._output[heading]

    def _section(self, name: str, typed: list[str]) -> list[str]:
        if name == "Resume":
            killed = self.run(*typed, MEMPHIS_TEST_KILL="sft:step:5")
            assert "the same command continues" in killed.stderr
        online = {"HF_ENDPOINT": self.hub.address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        online |= {"HF_TOKEN": "hf_of_a_test", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        found = []
        for command in typed:
            done = self.run(command, **(online if name == "Publish" else {}))
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            found.append(done.stdout)
        return found

    def run(self, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a user types it, python's from processes that have imported what they need."""
        environment = {**self.environment, **more}
        words = shlex.split(command)
        if words[:2] == ["python", "train.py"]:
            words = [str(self.root / "train.py"), *words[2:]]
            if "plan=true" in words:
                return commands.run(*words, cwd=self.root, env=environment)
            return offline.fork(words, self.root, environment)
        if words[:2] == ["python", "-m"]:
            return commands.run(*words[1:], cwd=self.root, env=environment)
        shell = ["bash", "-c", command]
        return subprocess.run(shell, capture_output=True, text=True, cwd=self.root, env=environment, check=False)

    def stage(self, run: str, name: str) -> Path:
        """Return the directory of a stage. run: pattern of its run's directory."""
        (path,) = (self.root / "runs").glob(f"{run}/[0-9][0-9]-{name}")
        return path


def comparison(a: int, b: int) -> dict[str, str]:
    more = a > b
    why = f"{a} is {'more' if more else 'less'} than {b}."
    return {"task": f"Is {a} more than {b}?", "why": why, "solution": "yes" if more else "no"}


def choice(n: int) -> dict[str, Any]:
    """Return a row in the columns of ARC."""
    options = {"text": ["yes", "no, it is not"], "label": ["A", "B"]}
    return {"id": str(n), "question": f"Is {n} more than 5?", "choices": options, "answerKey": "A" if n > 5 else "B"}


def samples(stage: Path) -> list[dict[str, Any]]:
    (file,) = (stage / "samples").iterdir()
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def pattern(line: str) -> str:
    """Return a regular expression for a line of output: any number for a number, any duration for one, any text for …"""
    found = ""
    for part in re.split(r"(…|\s+|(?:\d+ m )?\d[\d.]* s\b|[-+]?\d[\d.,]*(?:e-\d+)?k?)", line):
        if part == "…":
            found += ".*"
        elif part.isspace():
            found += r"\s+"
        elif part.endswith(" s") and part[0].isdigit():
            found += r"(?:\d+ [hm] )*[\d.]+ s"
        else:
            found += r"[-+]?\d[\d.,]*(?:e-\d+)?k?" if part.strip("+-")[:1].isdigit() else re.escape(part)
    return found


@pytest.fixture(
    scope="module",
    params=[("llama", "gpt_neox"), pytest.param(("gpt_neox", "llama"), marks=pytest.mark.slow)],
    ids=["llama", "gpt_neox"],
)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with uploads() as hub:
        yield Desk(tmp_path_factory.mktemp("own"), *request.param, hub)


def test_there_are_ten_things_of_at_most_two_commands() -> None:
    assert len(SECTIONS) == 10
    for heading, typed in SECTIONS.items():
        assert len(typed) in (1, 2), heading
        assert not any("\n" in command for command, _ in typed), heading
        assert any(shown for _, shown in typed), heading


@pytest.mark.parametrize(
    ("line", "printed", "same"),
    [
        ("N   17", "N      9", True),
        ("done in 0.2 s · loss 0.3", "done in 1 m 05 s · loss 12.25", True),
        ("58.8 (36.0 to 78.4) %", "0.0 (0.0 to 19.4) %", True),
        ("B - A  -35.29  1.9e-06", "B - A   +0.00  2e-07", True),
        ("report    runs/mine-…/report.html", "report    runs/mine-5dbf5c47/report.html", True),
        ("loss 0.3", "loss nan", False),
        ("SFT  58.8", "base  58.8", False),
    ],
)
def test_lines_are_compared_without_their_numbers(line: str, printed: str, same: bool) -> None:
    assert bool(re.fullmatch(pattern(line), printed)) == same


@pytest.mark.parametrize("heading", list(SECTIONS))
def test_commands_print_what_the_page_shows(desk: Desk, heading: str) -> None:
    for printed, (command, shown) in zip(desk.output(heading), SECTIONS[heading], strict=True):
        lines = iter(line.strip() for line in printed.splitlines())
        for line in filter(None, map(str.strip, shown.splitlines())):
            assert line == "…" or any(re.fullmatch(pattern(line), other) for other in lines), (
                f"{command}: {line}\n{printed}"
            )


def test_training_leaves_out_the_held_out_rows(desk: Desk) -> None:
    desk.output("Held-out rows")
    exam = {row["task"] for row in read_rows(desk.root / "my" / "exam.jsonl")}
    for run, expected in (
        ("method-sft_only", None),
        ("data.sources.local.heldout-my-exam.jsonl_method-sft_only", exam),
    ):
        data = desk.stage(f"mine/s0/{run}", "data")
        asked, trained = ({row["prompt"] for row in read_rows(data / f"{name}.jsonl")} for name in ("heldout", "sft"))
        assert asked | trained == set(desk.rows)
        assert not asked & trained
        assert asked == (expected or asked)


def test_training_goes_on_from_the_checkpoint(desk: Desk) -> None:
    desk.output("Continue from a checkpoint")
    trained = desk.root / "runs" / "mine" / "s0" / "method-sft_only"
    weights = fingerprint(trained / "model")
    assert weights != fingerprint(desk.root / "my" / "model")
    (more,), (taught,) = ((desk.root / "runs").glob(f"{name}/s0/*") for name in ("more", "taught"))
    assert fingerprint(more / "02-base" / "model") == fingerprint(taught / "03-sft" / "model") == weights
    before, after = (read_json(run / "03-sft" / "stage.json")["summary"] for run in (trained, more))
    assert after["seen_before"] == pytest.approx(before["seen_after"], abs=1e-5)
    assert fingerprint(more / "model") != weights != fingerprint(taught / "model")


@pytest.mark.parametrize(("run", "model"), [("mine/s0/method-none", "model"), ("other/s0/*", "other")])
def test_scores_are_those_of_a_plain_greedy_loop(desk: Desk, run: str, model: str) -> None:
    desk.output("Evaluate")
    plain, vocabulary = (
        kind.from_pretrained(desk.root / "my" / model) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    asked, right = samples(desk.stage(run, "evaluate-base")), []
    assert {sample["doc"]["prompt"] for sample in asked} == {
        row["prompt"] for row in read_rows(desk.stage(run, "data") / "heldout.jsonl")
    }
    for sample in asked:
        prompt = sample["doc"]["prompt"]
        ids = torch.tensor([vocabulary(prompts.render_cot(prompt)).input_ids])
        answer = plain.generate(ids, max_new_tokens=64, do_sample=False)[0, ids.shape[1] :]
        text = vocabulary.decode(answer, skip_special_tokens=True)
        parsed = prompts.parse(text, finished=bool(answer[-1] == vocabulary.eos_token_id))
        right.append(parsed.answer is not None and equal(parsed.answer, desk.rows[prompt]["solution"]))
        assert sample["resps"] == [[text]]
        assert sample["acc"] == right[-1]
    (column,) = read_json(desk.stage(run, "evaluate-base") / "record.json")["heldout"]["columns"].values()
    assert (column["count"], column["n"]) == (sum(right), len(right))


def test_comparison_counts_the_rows_that_one_model_alone_got_right(desk: Desk) -> None:
    pairs, _ = desk.output("Compare two")
    a, b = (samples(desk.stage(run, "evaluate-base")) for run in ("mine/s0/method-none", "other/s0/*"))
    alone = [sum(x["acc"] > y["acc"] for x, y in zip(*sides, strict=True)) for sides in ((a, b), (b, a))]
    (line,) = (line for line in pairs.splitlines() if line.startswith("heldout/local "))
    assert [int(word) for word in line.split()[-3:-1]] == alone


def test_a_task_of_lm_eval_scores_like_plain_log_probabilities(desk: Desk) -> None:
    desk.output("Another task of lm-eval")
    plain, vocabulary = (
        kind.from_pretrained(desk.root / "my" / "model") for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    right = 0
    for row in map(choice, range(10)):
        start, found = f"Question: {row['question']}\nAnswer:", []
        for text in row["choices"]["text"]:
            ids = torch.tensor(vocabulary(f"{start} {text}").input_ids)
            known = len(vocabulary(start).input_ids)
            with torch.no_grad():
                logps = plain(ids[None]).logits[0].log_softmax(-1)
            found.append(float(logps[known - 1 : -1].gather(1, ids[known:, None]).sum()) / len(text))
        right += row["choices"]["label"][found[1] > found[0]] == row["answerKey"]
    (record,) = (desk.root / "runs").glob("mine/s0/*arc_easy*/02-evaluate-base/record.json")
    column = read_json(record)["tasks"]["columns"]["arc_easy"]
    assert (column["count"], column["n"], column["metric"]) == (right, 10, "acc_norm")


def test_the_export_is_the_trained_model_for_plain_transformers(desk: Desk) -> None:
    desk.output("Export")
    plain = AutoModelForCausalLM.from_pretrained(desk.root / "my" / "exported")
    ours, _ = load(desk.root / "runs" / "mine" / "s0" / "method-sft_only" / "03-sft" / "model", packed=False)
    ids = torch.arange(1, 60)[None]
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, ours(ids).logits)


def test_what_is_published_is_the_export(desk: Desk) -> None:
    desk.output("Publish")
    exported = {file.name: file.read_bytes() for file in (desk.root / "my" / "exported").iterdir()}
    assert desk.hub.files == exported
    assert "README.md" in exported
    (repository,) = desk.hub.created
    assert (repository["organization"], repository["name"], repository["visibility"]) == ("you", "mine", "private")
    assert desk.hub.tokens == {"hf_of_a_test"}


def test_an_interrupted_run_is_the_same_run(desk: Desk) -> None:
    desk.output("Resume")
    run = desk.root / "runs" / "mine" / "s1" / "method-sft_only"
    assert read_json(run / "run.json")["attempts"] == 2
    assert read_json(run / "summary.json")["status"] == "finished"
