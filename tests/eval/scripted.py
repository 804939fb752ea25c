"""Scripted language model for tests of everything but models: fixed answers, no engine, no weights."""

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from eval import harness
from memphis.jsonl import PROGRESS
from memphis.sampling.progress import Progress
from memphis.store import digest

Say = Callable[[Instance, int], str]  # request, seed -> generated text


class Scripted(TemplateLM):
    """Fake language model. say: returns the generated text. Log-likelihoods: pseudo-random, between -40 and 0."""

    def __init__(self, say: Say, seed: int = 0, max_length: int = 1 << 20) -> None:
        super().__init__()
        self.say, self.seed, self.max_length = say, seed, max_length
        self.requests: list[Instance] = []

    @property
    def eot_token_id(self) -> int:
        return 0

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **_: Any) -> Any:
        return [[1] * len(text.split()) for text in string]  # a word is a token

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        self.requests += requests
        return [self.say(request, self.seed) for request in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self.requests += requests
        return [(-40 * drawn(request.task_name, request.doc_id, request.idx), False) for request in requests]

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError


def drawn(*parts: object) -> float:
    """Return a number in [0, 1) that depends only on `parts`."""
    return random.Random(digest([str(part) for part in parts])).random()


class FakeEngine:
    """Engine attributes that the harness reads itself, not through the language model."""

    name, dtype, max_model_len = "hf", "float32", 1 << 20


class Evaluation:
    """Caller of `harness.evaluate` that puts a Scripted model in place of the engine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, say: Say, max_length: int = 1 << 20) -> None:
        self.models: list[Scripted] = []
        self.rows: list[dict[str, Any]] = []

        def language_model(engine: Any, model_dir: Path, seed: int) -> Scripted:
            self.models.append(Scripted(say, seed, max_length))
            return self.models[-1]

        monkeypatch.setattr(harness, "language_model", language_model)

    def __call__(self, suite: str, out: Path, die_at: int | None = None, **knobs: Any) -> dict[str, Any]:
        out.mkdir(exist_ok=True)
        points: list[str] = []

        def kill_point(name: str) -> None:
            points.append(name)
            if len(points) == die_at:
                raise KeyboardInterrupt

        chosen: Any = {"limit": None, "seeds": [0], "allow_truncated": False, "fingerprint": "f" * 64, **knobs}
        engine: Any = FakeEngine()
        return harness.evaluate(
            engine,
            out,
            suite,
            out=out,
            log=self.rows.append,
            progress=Progress(out / PROGRESS),
            kill_point=kill_point,
            **chosen,
        )

    def requests(self) -> list[Instance]:
        return [request for model in self.models for request in model.requests]


def plain_score(suite: str, task: str, sample: dict[str, Any]) -> float:
    """Score a sample in plain Python, from the question and the model's output."""
    doc, answers = sample["doc"], [answer for (answer,) in sample["resps"]]
    if task.startswith("agieval"):
        shares = [float(answer[0]) / len(choice) for answer, choice in zip(answers, doc["choices"], strict=True)]
        return float(shares.index(max(shares)) in doc["gold"])
    pattern = r"#### (\-?[0-9\.\,]+)" if task == "gsm8k" else r"(?<=the answer is )(.*)(?=.)"
    match = re.search(pattern, answers[0])
    if match is None:
        return 0.0
    if task != "gsm8k":
        return float(match[1].strip() == doc["target"])
    one, other = (
        text.replace(",", "").replace("$", "") for text in (match[1].strip(), doc["answer"].split("#### ")[-1])
    )
    return float((one.removesuffix(".") if suite == "current" else one) == other)


def samples_of(out: Path, task: dict[str, Any]) -> list[dict[str, Any]]:
    names = [task["samples"]] if isinstance(task["samples"], str) else task["samples"]
    return [json.loads(line) for name in names for line in gzip.decompress((out / name).read_bytes()).splitlines()]
