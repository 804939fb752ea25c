"""Tests of evaluating outside models: one by one, several at once, and models that cannot be evaluated."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval import table
from eval.records import find
from tests.composing import compose_config, options
from tests.offline import planned, train
from tests.tiny_models import benchmark_tokenizer, write_model

# Rows of the card's table: file in conf/model -> hub id, in the card's order.
ROWS = {
    "stablelm_3b": "stabilityai/stablelm-3b-4e1t",
    "stablehermes_3b": "cxllin/StableHermes-3b",
    "mpt_7b_instruct": "mosaicml/mpt-7b-instruct",
    "openllama_7b_v2": "VMware/open-llama-7b-v2-open-instruct",
    "stablelm_zephyr_3b": "stabilityai/stablelm-zephyr-3b",
    "lima2_7b": "heegyu/LIMA2-7b-hf",
    "memphis_cot_3b": "euclaise/Memphis-CoT-3B",
}


def test_the_published_rows_have_their_models() -> None:
    assert [row.hub for row in table.read_reference().rows] == list(ROWS.values())
    assert {*ROWS, "tiny", "hf", "pythia_410m", "smollm2_135m"} == set(options("model"))
    for name, hub in ROWS.items():
        model = compose_config(f"model={name}", "method=none", "eval=card").model
        assert model.path == hub
        assert model.revision is None or len(model.revision) == 40  # None: the branch main, resolved when it is fetched
        assert model.parameters
        assert model.base is None


def test_the_sweep_has_seven_arms_of_two_stages(tmp_path: Path) -> None:
    done = planned(tmp_path, "-m", "+sweep=published_models", "method=none", "plan=true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("evaluate-base" in line and "not built" in line for line in lines) == 7
    end = lines.index("7 of 7 runs finished:")
    assert [line.split()[0] for line in lines[end + 1 :]] == [f"model={name}" for name in ROWS]
    assert all(line.endswith("  finished") for line in lines[end + 1 :])


def test_what_is_typed_wins_over_the_sweep(tmp_path: Path) -> None:
    done = planned(tmp_path, "-m", "+sweep=published_models", "model=lima2_7b", "eval=current", "plan=true")
    assert done.stdout.splitlines()[-2] == "1 of 1 runs finished:"
    assert "model=lima2_7b method=none eval=current " in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("plan", ["true", "false"])
def test_a_sweep_without_m_is_refused(tmp_path: Path, plan: str) -> None:
    done = planned(tmp_path, "+sweep=published_models", "method=none", f"plan={plan}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: +sweep=published_models: this is several runs, for which -m is needed; type: "
        f"python train.py -m +sweep=published_models method=none plan={plan} tracking=none"
    ]
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_arms_that_fail_do_not_stop_the_others(shared: Path, tmp_path: Path) -> None:
    """Evaluate good models first, in the middle and last; every error is one line in the table at the end."""
    vocabulary = benchmark_tokenizer(shared / "benchmarks")

    def make(name: str, positions: int = 4096, **changes: object) -> Path:
        path = write_model(tmp_path / name, 0, max_positions=positions, vocabulary=vocabulary)
        config = {**json.loads((path / "config.json").read_text()), **changes}
        (path / "config.json").write_text(json.dumps(config))
        return path

    make("good")
    mute = make("no-eos")
    settings = json.loads((mute / "tokenizer_config.json").read_text())
    (mute / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "eos_token"}))
    make("mpt", model_type="mpt", architectures=["MPTForCausalLM"])
    make("short", positions=1024)
    make("middle", positions=2048)
    broken = make("nan")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    make("last")
    names = ["good", "no-eos", "mpt", "short", "middle", "nan", "nobody/nothing", "last"]
    paths = ",".join(name if "/" in name else str(tmp_path / name) for name in names)
    data = f"eval.data_dir={shared / 'benchmarks'}"
    words = ["method=none", "model=hf", f"model.path={paths}", "model.dtype=float32", "generate=hf", "eval=current"]
    done = train(tmp_path, "-m", *words, data, "eval.limit=1", "name=others", forked=True)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    end = lines.index("2 of 8 runs finished:")
    ends = dict(zip(names, lines[end + 1 : end + 1 + len(names)], strict=True))  # a comparison follows
    for name, reason in {
        "good": "finished",
        "no-eos": "the tokenizer has no EOS token; set eos_token in tokenizer_config.json",
        "mpt": "14 tensors (transformer.blocks.0.attn.Wqkv.weight, ",
        "short": "an answer takes up to 1024 tokens, and the model's whole context is 1024: no room for a prompt",
        "middle": "prompts of suite current do not fit the model's context of 2048 tokens",
        "nan": "model.norm.weight holds NaN or Inf",
        "nobody/nothing": "neither a directory nor a model that can be had",
        "last": "finished",
    }.items():
        assert reason in ends[name], ends[name]
        assert ("failed: " in ends[name]) == (reason != "finished")
    assert [line.split("error: ")[0] for line in done.stderr.splitlines()] == [""] * 6  # one line each and nothing else

    runs = {path.parent: path for path in (tmp_path / "others" / "s0").glob("*/record.json")}
    ((run, file),) = runs.items()  # only the model that cannot be loaded has a record
    assert json.loads(file.read_text())["model"] == "mpt"
    reason = find(run).records["current"]["not_loadable"]
    assert reason.startswith("14 tensors (transformer.blocks.0.attn.Wqkv.weight, ")
    assert str(tmp_path) not in file.read_text()
    reference = table.read_reference()
    shown = table.markdown([*reference.rows, *table.our_rows([find(run)], reference)], reference)
    assert f"mpt (ours) could not be loaded: {reason}. Quoted only." in shown

    allowed = train(tmp_path, "method=none", "model=hf", f"model.path={tmp_path / 'middle'}", "model.dtype=float32",
                    "generate=hf", "eval=current", data, "eval.limit=1", "eval.allow_truncated=true", forked=True)  # fmt: skip
    assert allowed.returncode == 0, allowed.stderr
    assert "prompts cut" in allowed.stdout
    assert "prompts did not fit the model's context" in allowed.stdout


@pytest.mark.slow
def test_data_that_are_not_there_are_named(shared: Path, tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "model", 0, max_positions=4096, vocabulary=benchmark_tokenizer(shared / "benchmarks")
    )
    words = ["method=none", "model=hf", f"model.path={model}", "generate=hf", "eval=current"]
    done = train(tmp_path, *words, forked=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    for part in (
        "stage evaluate-base failed: eval.data_dir=null: gsm8k needs the data set openai/gsm8k, which is not in ",
        "(HF_HUB_OFFLINE is set)",
        "datasets.load_dataset('openai/gsm8k', 'main')",
        "eval.data_dir=<directory>",
    ):
        assert part in line
    mirror = tmp_path / "mirror"
    for file in (shared / "benchmarks").rglob("*"):
        if file.is_file() and file.name != "navigate.jsonl":
            copy = mirror / file.relative_to(shared / "benchmarks")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    done = train(tmp_path, *words, f"eval.data_dir={mirror}", "eval.limit=1", forked=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the data of bbh_cot_fewshot_" in line
    assert f"Unable to find '{mirror}/bbh/test/navigate.jsonl'" in line
    assert not list(tmp_path.glob("store/evaluate-*/tasks/*"))  # detected before anything was scored
    done = train(tmp_path, "method=none", "eval.suites=[mmlu]")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "eval.suites.0='mmlu'" in done.stderr
