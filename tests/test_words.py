"""Tests of what is typed: values that Hydra would stop at, keys that do not exist, axes of a sweep, paths, `try next`."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from experiments.report.text import next_command
from memphis import REPOSITORY, config
from memphis.config.keys import is_key, nearest, quoted
from memphis.config.words import check
from memphis.dotted import flatten
from memphis.errors import MemphisError
from tests.offline import environment, planned

VALUES = [
    *("/x/epoch=3-step=100", "~/m", "/x/modèle", "/x/模型", "/a b/c", "/a,b", "a[1]", "{a}", "a:b", "$HOME/m", "a#b"),
    *("a\\b", "a\\", '\\"', "100%", "it's", 'say "so"', "3b", "2026-11-28", "1_000", "1e3", "0123", "null", "true"),
    *("2026", "f(x)", "range(1,3)", "${HOME}", "\\${x}", "${", "a'b\"c", "tab\there", "line\nbreak", "()", "!x", "`x`"),
]


def fault_of(*words: str, several: bool = False) -> str:
    with pytest.raises(MemphisError) as caught:
        check(list(words), several=several)
    return str(caught.value)


def composed(words: list[str], key: str) -> str | None:
    """Return the value of `key`, as the config has it."""
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return flatten(config.to_dict(config.from_hydra(compose("config", overrides=words), words)))[key]


def in_bash(line: str) -> list[str]:
    """Return the words that a program gets for `line`."""
    show = [sys.executable, "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))"]
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(show)} {line}"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    return done.stdout.split("\0")


@pytest.mark.parametrize("text", VALUES)
def test_the_form_in_quotes_that_is_shown_gives_exactly_the_text(text: str) -> None:
    word = f"model.path={text}"
    try:
        check([word], several=False)
        found = composed(["model=hf", word], "model.path")
        assert found is None or found == text or "\\" in text or text.startswith("${")  # null, Hydra's own language
        shown = quoted(word)
    except MemphisError as fault:
        (line,) = str(fault).splitlines()
        shown = line.rpartition("type ")[2] if "type " in line else quoted(word)
    assert "\n" not in shown
    (read,) = in_bash(shown)
    assert check([read], several=False) == []
    assert composed(["model=hf", read], "model.path") == text


def test_quotes_hold_for_made_up_texts() -> None:
    made = random.Random(0)
    texts = ["".join(made.choices("ab\\\"'${}=,:#~ é[]()", k=made.randint(1, 9))) for _ in range(60)]
    lines = [quoted(f"model.path={text}") for text in texts]
    for text, read in zip(texts, in_bash(" ".join(lines)), strict=True):
        assert check([read], several=False) == []
        cfg = config.OmegaConf.create({"path": _value(read)})
        assert cfg.path == text, (read, text)


def _value(word: str) -> object:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides([word])[0].value()


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("sft.lerning_rate=1e-4", "sft.optim.lr=1e-4"),
        ("optim.lr=1e-4", "sft.optim.lr=1e-4"),
        ("modle=hf", "model=hf"),
        ("+sft.epohcs=1", "sft.epochs=1"),
        ("++sft.epohcs=1", "sft.epochs=1"),
        ("sft.optm.lr=1", "sft.optim.lr=1"),
        ("sft.lr=1", "sft.optim.lr=1"),
        ("~sft.lr", "~sft.optim.lr"),
        ("~slerp.tt", "~slerp.t"),
        ("sft/epochs=3", "sft.epochs=3"),
        ("method=memphs", "method=memphis"),
        ("exp=memphis_cot", "+exp=memphis_cot"),
        ("+exp=memphis_cto", "+exp=memphis_cot"),
        ("+method=dpo", "method=dpo"),
        ("data.sources.tiny.trian=3", "data.sources.tiny.train=3"),
        ("plan", "plan=…"),
    ],
)
def test_what_does_not_exist_names_the_nearest_in_one_line(word: str, shown: str) -> None:
    (line,) = fault_of(word).splitlines()
    assert re.search(rf"(did you mean|or|type) {re.escape(shown)}", line), line
    assert not re.search(r" \+(?!exp=)", line.partition(": ")[2].replace("without +", ""))


def test_every_key_of_the_schema_can_be_typed_and_a_strange_word_advises_nothing() -> None:
    assert all(map(is_key, flatten(config.to_dict(config.Config(name="x")))))
    assert nearest("zzz") == []
    assert "lists the keys there are" in fault_of("zzz=1")


def test_several_values_without_m() -> None:
    text = "slerp.t=0.1,0.2: this is several runs, for which -m is needed; type: python train.py -m slerp.t=0.1,0.2"
    assert fault_of("slerp.t=0.1,0.2") == text
    assert fault_of("eval.seeds=1,2").endswith("; for one list type 'eval.seeds=[1,2]'")
    assert fault_of("data.path=a,b").endswith("""; for one text type 'data.path="a,b"'""")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["+sweep=slerp_factor", "slerp.t=0.5"], "slerp.t=0.5: takes the place of slerp.t=0,0.01,0.5,0.9,0.99,1"),
        (["+sweep=slerp_factor", "slerp.t=0.1,0.2"], "slerp.t=0.1,0.2: takes the place of"),
        (["+sweep=slerp_factor", "slerp=scribe"], "slerp=scribe: its slerp.t is replaced by the axis slerp.t=0,"),
        (["+sweep=methods", "rank.loss=dpo"], "rank.loss=dpo: wins over method=sft_only, "),
        (["method=memphis,dpo", "rank.loss=dpo"], "rank.loss=dpo: wins over method=dpo in every arm"),
        (["slerp.t=0.5"], "-m: no key has several values, so this is one run"),
    ],
)
def test_axes_that_are_replaced_are_said(words: list[str], note: str) -> None:
    assert check(words, several=True)[0].startswith(f"note: {note}")


def test_ordinary_sweeps_need_no_note() -> None:
    for words in (["+exp=memphis_cot", "+sweep=slerp_factor", "seed=0,1"], ["+sweep=published_models", "method=none"]):
        assert check(words, several=True) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+data.path="], "data.path='': string should have at least 1 character"),
        (["model=hf", "model.path="], "model.path='': string should have at least 1 character"),
        (["model=hf", "model.path=~nobody/x"], "model.path=~nobody/x: this value needs quotes"),
        (["model=hf", f"model.path=/{'a' * 256}"], "a path has at most 4,096 bytes, each part at most 255"),
        ([f"sft.from={'a/' * 2100}"], "a path has at most 4,096 bytes, each part at most 255"),
        (["model=hf", "sft.from=bad"], "sft.from=bad: "),
        (["sft.from=bad"], "sft.from=bad: "),
        (["model=hf", 'model.path="$HERE/absent"'], "model.path='$HERE/absent': no such file or directory"),
        (["--slerp.t=0.5"], "--slerp.t=0.5: keys have no dashes; type slerp.t=0.5"),
        (
            ["seed=0", "-m", "slerp.t=0,1"],
            "flags stand before all else; type: python train.py -m plan=true eval=none seed=0",
        ),
        (["+sft.epochs=3"], "+sft.epochs: the key is there already; type sft.epochs=…, without +"),
        (["name=2026"], """name=2026: input should be a valid string; type 'name="2026"'"""),
        (["slerp.t", "=", "0.5"], "slerp.t: a value is missing; type slerp.t=…, without spaces around ="),
        (["model.path=${HERE}/x"], """'HERE' not found; for the text itself type 'model.path="\\${HERE}/x"'"""),
        (["model.path=/\udcff"], "model.path=/\ufffd: not UTF-8; rename the file, or make a link to it"),
        (["name=null"], """name: missing; set name=…; for the text null type 'name="null"'"""),
        (["model=hf", "model.base.hidden=3"], "model.base.hidden: there is no such key in the files that were chosen"),
    ],
)
def test_a_command_ends_in_one_line(tmp_path: Path, words: list[str], line: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{}")
    done = planned(tmp_path, "plan=true", "eval=none", *words)
    assert done.returncode == 1
    assert [line.startswith("error: ") for line in done.stderr.splitlines()] == [True], done.stderr
    assert line.replace("=bad", f"={tmp_path}/bad") in done.stderr.replace("=bad", f"={tmp_path}/bad")


def test_help_leaves_out_what_has_no_effect(tmp_path: Path) -> None:
    done = planned(tmp_path, "--help")
    assert "\n  weight: 0.25\n" in done.stdout
    assert not re.search(r"^  (beta|alpha):", done.stdout, re.M)
    assert "used by other methods: rank.alpha, rank.beta" in done.stdout
    assert "${oc.env:MEMPHIS_RUNS,runs}" in done.stdout


def test_through_a_link_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(REPOSITORY / "train.py")
    line = [sys.executable, str(tmp_path / "link.py"), "-m", "until=data", "seed=0,1", "plan=true", "tracking=none"]
    env = {**environment(tmp_path), "MEMPHIS_RUNS": str(tmp_path / "runs")}
    (tmp_path / "here").mkdir()
    done = subprocess.run(line, cwd=tmp_path / "here", env=env, capture_output=True, text=True, check=False)
    assert "2 of 2 runs finished" in done.stdout, done.stderr
    assert not list((tmp_path / "here").iterdir())


def test_a_root_that_cannot_be_made_is_one_line_also_for_several_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for flags in ([], ["-m"]):
        done = planned(tmp_path, *flags, f"runtime.root={tmp_path}/file/runs", "until=data")
        (line,) = done.stderr.splitlines()
        assert re.search(r"^error: .*file.*: Not a directory; set runtime.root \(or MEMPHIS_RUNS\)", line)


@pytest.mark.parametrize(
    ("kind", "words", "changed"),
    [
        ("merge", ["+exp=small", "name=own", "slerp.t=0.5", "eval=none"], "slerp.t=0.9"),
        ("sft", ["data=local", 'data.path="it\'s, mine.jsonl"', "eval=none", "seed=3"], "seed=4"),
        ("sft", ["method=sft_only", "until=sft"], "method=sft_only"),
    ],
)
def test_what_is_tried_next_can_be_pasted(tmp_path: Path, kind: str, words: list[str], changed: str) -> None:
    (tmp_path / "it's, mine.jsonl").write_text('{"prompt": "1 + 1?", "rationale": "It is 2.", "answer": "2"}\n' * 4)
    stages = [{"name": kind, "kind": kind, "built": True, "iteration": 1}]
    run = {"method": "memphis", "stages": stages, "command": words, "config": {"slerp.t": 0.5}, "seed": 3}
    line = next_command(run)
    assert line.endswith(changed)
    kept = [word for word in words if not word.startswith(("slerp.t=", "seed=", "until="))]
    _, script, *read = in_bash(line)
    assert [word for word in read if word != changed or word in kept] == kept
    assert script == "train.py"
    done = planned(tmp_path, *read, "plan=true")
    assert done.returncode == 0, done.stderr


def test_a_plan_that_is_ended_leaves_no_directory(tmp_path: Path) -> None:
    """End it while its process imports torch, which takes seconds."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "tmp").mkdir()
    words = ["model=hf", f"model.path={tmp_path}/m", "plan=true", "eval=none", "tracking=none"]
    env = environment(tmp_path, TMPDIR=str(tmp_path / "tmp"))
    line = [sys.executable, str(REPOSITORY / "train.py"), *words]
    process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "tmp").glob("memphis-plan-*/request.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "interrupted\n")
    assert not list((tmp_path / "tmp").glob("memphis-plan-*"))
