"""Answers of models to the same questions: of every evaluated model of a run, or of the arms of a comparison.

Model output is data here: it is quoted or handed on as text, never interpreted.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.report.templating import cut
from memphis.formatting import printable
from memphis.pipeline import KINDS, evaluated
from memphis.store import read_json
from memphis.tracking.content import fixed_choice

SHOWN = 3  # samples on the page of three
_QUESTION_KEYS = ("prompt", "question", "input", "query")  # in the documents of our tasks


@dataclass(frozen=True)
class Answer:
    """Answer of a model to one question."""

    question: str
    reference: str
    text: str
    right: bool


@dataclass(frozen=True)
class Answers:
    """Answers by model. what: questions and how answered. models: label -> question id -> answer, in training order."""

    what: str
    models: Mapping[str, Mapping[str, Answer]]
    article: str = ""


@dataclass(frozen=True)
class Change:
    """Answers of an earlier and of a later model to the same questions."""

    before: str  # which model
    after: str
    what: str  # which questions, how answered
    pairs: dict[str, tuple[Answer, Answer]]

    def ids(self, before: bool, after: bool) -> list[str]:
        """Return ids of the questions with these outcomes, in the order of a hash of the id."""
        found = [key for key, (a, b) in self.pairs.items() if (a.right, b.right) == (before, after)]
        return sorted(found, key=_hash)

    def sentence(self) -> str:
        outcomes = ((False, True), (True, False), (True, True), (False, False))
        better, worse, right, wrong = (len(self.ids(*outcome)) for outcome in outcomes)
        return (
            f"{self.before} → {self.after} on {self.what}: {better} went from wrong to right, {worse} from right to "
            f"wrong, {right} stayed right, {wrong} stayed wrong"
        )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def answers(stages: Sequence[dict[str, Any]], paths: Mapping[str, Path]) -> Answers | None:
    """Return the answers of a run's models to the first task whose answers they wrote themselves, if two models or more
    did; else the first sample of each cycle to its training questions; else those of the single model; else None.

    stages: built rows of stages.json. paths: where they are, by name.
    """
    by_output: dict[str, list[dict[str, Any]]] = {}
    for stage in stages:
        by_output.setdefault(KINDS[stage["kind"]].leaves, []).append(stage)
    found: dict[str, dict[str, Answer]] = {}
    task = ""
    for stage in by_output.get("scores", ()):
        this, written = _evaluation_answers(paths[stage["name"]])
        if this and this == (task or this):
            task = this
            found[evaluated(stage["name"])] = written
    if len(found) > 1:
        return Answers(f"questions of {task}", found, "the ")
    judged = list({stage["iteration"]: stage for stage in by_output.get("judged", ())}.values())
    if len(judged) > 1 and "rows" in by_output:
        questions = {row["id"]: row for row in _rows(paths[by_output["rows"][0]["name"]] / "questions.jsonl")}
        names = ["SFT", *(f"iteration {stage['iteration'] - 1}" for stage in judged[1:])]
        models = {n: _judged_answers(paths[s["name"]], questions) for n, s in zip(names, judged, strict=True)}
        return Answers("training questions (first sample of each)", models)
    return Answers(f"questions of {task}", found, "the ") if found else None


def find_change(found: Answers | None) -> Change | None:
    """Return the change from SFT (else the first model) to the last one; None if there are no two."""
    if found is None or len(found.models) < 2:
        return None
    names = list(found.models)
    first = "SFT" if "SFT" in names[:-1] else names[0]
    before, after = found.models[first], found.models[names[-1]]
    pairs = {key: (before[key], after[key]) for key in before if key in after}
    return Change(first, names[-1], f"{found.article}{len(pairs)} {found.what}", pairs)


def browser(found: Answers | None, count: int, chars: int) -> dict[str, Any] | None:
    """Return the data of a page's sample browser: `count` questions by a fixed hash of their ids, cut to `chars`."""
    if found is None:
        return None

    def shown(text: str) -> str:
        return cut(printable(text.strip()), chars)

    common = set.intersection(*(set(model) for model in found.models.values()))
    rows = []
    for key in sorted(fixed_choice(list(common), count), key=lambda item: (len(item), item)):
        given = [model[key] for model in found.models.values()]
        texts = [[int(answer.right), shown(answer.text)] for answer in given]
        rows.append({"id": key, "q": shown(given[0].question), "ref": shown(given[0].reference), "a": texts})
    return {"what": found.what, "total": len(common), "models": list(found.models), "rows": rows}


def choose(change: Change) -> list[str]:
    """Return ids of the samples to show: in the order of a hash of the id, the first two that went from wrong to right
    and the first that went the other way; places left over go to the first of all others."""
    chosen = [*change.ids(False, True)[: SHOWN - 1], *change.ids(True, False)[:1]]
    return [*chosen, *(key for key in sorted(change.pairs, key=_hash) if key not in chosen)][:SHOWN]


def _evaluation_answers(directory: Path) -> tuple[str, dict[str, Answer]]:
    """Return the first task with generated answers, and these by item; ("", {}) when answers were only scored."""
    for record in read_json(directory / "record.json").values():
        for task, result in record["tasks"].items():
            if result["metric"].startswith("acc"):  # choices were scored, nothing was written
                continue
            file = result["samples"] if isinstance(result["samples"], str) else result["samples"][0]  # one per seed
            found = {}
            for row in _rows(directory / file):
                if row["filter"] == result["filter"]:
                    question = next((row["doc"][key] for key in _QUESTION_KEYS if key in row["doc"]), "")
                    answer = Answer(question, str(row["target"]), row["resps"][0][0], bool(row[result["metric"]]))
                    found[str(row["doc_id"])] = answer
            return task, found
    return "", {}


def _judged_answers(directory: Path, questions: dict[str, dict[str, Any]]) -> dict[str, Answer]:
    found = {}
    for row in _rows(directory / "judged.jsonl"):
        question, sample = questions[row["id"]], row["samples"][0]
        found[row["id"]] = Answer(question["prompt"], question["answer"], sample["text"], bool(sample["correct"]))
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from map(json.loads, file)
