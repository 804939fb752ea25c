"""Pairs stage: judge every sample against its question's answer and pair correct with incorrect ones.

Samples of the input `hinted`, made knowing the answer, count only where they are correct, and as answers to the
question without the hint.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from memphis.answers import equal, pairs, working
from memphis.answers.choices import is_letter
from memphis.config.forms import PairsForm
from memphis.config.sections import Answer
from memphis.data import prompts
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.stages.context import Context
from memphis.stages.symbolic import Algebra
from memphis.store import read_json, write_json

WORSE = 0.1  # nats a token by which training may raise a loss without being the reason that no pair was found
HUMAN_ROWS = 2_000  # rationales of a source, the first ones, whose equations are checked for comparison
SOURCES = 12  # of which false equations are counted, those with the most chosen texts
FEW_PAIRS = 100  # fewer pairs than this teach next to nothing: a warning, not an error


def run(context: Context, config: PairsForm) -> dict[str, Any]:
    knobs = config.pairs
    questions = {row["id"]: row for row in read_rows(context.inputs["data"] / "questions.jsonl")}
    hinted = read_rows(context.inputs["hinted"] / "samples.jsonl") if "hinted" in context.inputs else []
    with Algebra() if knobs.answer.symbolic else nullcontext() as algebra:

        def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {
                    "id": row["id"],
                    "samples": [
                        judge_sample(s, questions[row["id"]], knobs.answer, algebra, unfinished=knobs.unfinished)
                        for s in row["samples"]
                    ],
                }
                for row in rows
            ]

        judged = judge(read_rows(context.inputs["samples"] / "samples.jsonl"))
        knowing = {row["id"]: row["samples"] for row in judge(hinted)}
    paired = []
    rationalized = left_out = 0
    for row in judged:
        question, samples = questions[row["id"]], row["samples"]
        correct = [sample["text"] for sample in samples if sample["correct"]]
        incorrect = [sample["text"] for sample in samples if sample["correct"] is False]
        if knobs.check == "equations" and config.examples != "human":
            false = [text for text in correct if working.wrong(text)]
            left_out += len(set(false)) if knobs.dedup == "text" else len(false)
            correct = [text for text in correct if not working.wrong(text)]
        found: list[tuple[str, list[str]]]
        if config.examples == "correct":
            from_hint = knowing.get(row["id"], [])
            given = [sample["text"] for sample in from_hint if sample["correct"]]
            correct += [text for text in given if knobs.check == "none" or not working.wrong(text)]
            found = [(text, []) for text in (dict.fromkeys(correct) if knobs.dedup == "text" else correct)]
            rationalized += len(found) if from_hint else 0  # only questions without a correct sample got a hint
        else:
            if config.examples == "human":  # against the model's own, right or wrong
                human = prompts.completion_cot(question["rationale"], question["answer"])
                correct = [human] if question["rationale"] else []
                incorrect = [sample["text"] for sample in samples if sample["text"] not in ("", human)]
            found = pairs.build(
                row["id"],
                correct,
                incorrect,
                knobs.mode,
                dedup=knobs.dedup,
                order=knobs.order,
                max_per_question=knobs.max_per_question,
                seed=context.seed,
            )
        for chosen, rejected in found:
            paired.append({"id": row["id"], "prompt": question["prompt"], "chosen": chosen, "rejected": rejected})
    write_rows(context.out / "judged.jsonl", judged)
    write_rows(context.out / "pairs.jsonl", paired)
    counts = _count(judged, paired, knobs.dedup, rationalized) | {
        "pairs/letter_without_options": sum(map(_letter_without_options, questions.values()))
    }
    if knobs.check == "equations":
        counts |= {
            "pairs/discarded_false": left_out,
            "pairs/discarded_surplus": counts["pairs/discarded_surplus"] - left_out,
        }
    if "hinted" in context.inputs:
        counts["pairs/rationalized"] = rationalized
    if algebra is not None:
        counts |= {f"pairs/symbolic_{what}": number for what, number in algebra.counts.items()}
    write_json(context.out / "counts.json", counts)
    false_equations = _false_equations(paired, questions, read_rows(context.inputs["data"] / "sft.jsonl"))
    lengths = _lengths(read_rows(context.inputs["samples"] / "samples.jsonl"), paired)
    context.log(lengths | _false_metrics(false_equations))
    context.log(counts)
    if not paired:
        raise MemphisError(_no_pairs(counts, _worsened(context.inputs["samples"])))
    warnings = []
    if len(paired) < FEW_PAIRS:
        warnings.append(f"only {len(paired)} pairs in iteration {context.iteration}; expect little effect")
    if algebra is not None and algebra.counts["unavailable"]:
        warnings.append(
            f"pairs.answer.symbolic=true: the worker of math-verify does not start here, so "
            f"{algebra.counts['unavailable']} pairs of formulas count as different; see requirements-dev.txt"
        )
    summary = {"pairs": len(paired), "pass@1": counts["gen/pass@1"], "false_equations": false_equations}
    return summary | ({"warnings": warnings} if warnings else {})


def judge_sample(
    sample: Mapping[str, Any],
    question: Mapping[str, Any],
    knobs: Answer,
    solve: equal.Solve | None,
    *,
    unfinished: str = "drop",
) -> dict[str, Any]:
    """Judge a sample (text, finished) of a question (prompt, source, answer).

    Returns text, answer, valid with the reason why not, correct, and the rule that decided: None and "" for a sample
    that is discarded, which one that the token limit cut off is with unfinished="drop".
    """
    parsed = prompts.parse(sample["text"], sample["finished"])
    correct: bool | None = None
    rule = ""
    if not parsed.reason:
        assert parsed.answer is not None
        correct, rule = equal.verdict(
            parsed.answer,
            question["answer"],
            options=equal.options_of(question["prompt"]),
            mode=knobs.mode,
            kind=equal.kind_of(question["source"], knobs.types),
            solve=solve,
            fallback=knobs.fallback,
        )
    elif parsed.reason == "unfinished" and unfinished == "incorrect":
        correct = False
    judged = {"text": sample["text"].strip(), "valid": not parsed.reason, "reason": parsed.reason}
    return {**judged, "answer": parsed.answer, "correct": correct, "rule": rule}


def _letter_without_options(question: Mapping[str, Any]) -> bool:
    """True if the answer is a letter, but the prompt has no options that a text could name."""
    return is_letter(question["answer"]) and equal.options_of(question["prompt"]) is None


def _count(judged: list[dict[str, Any]], paired: list[dict[str, Any]], dedup: str, rationalized: int) -> dict[str, Any]:
    """Compute the metrics of sampling and pairing. rationalized: number of `paired` that are not from `judged`."""
    samples = [sample for row in judged for sample in row["samples"]]
    right = [sum(bool(sample["correct"]) for sample in row["samples"]) for row in judged]
    sizes = [len(row["samples"]) for row in judged]
    first = [c / n for c, n in zip(right, sizes, strict=True)]
    k = min(sizes)
    mean = sum(first) / len(first)
    spread = math.sqrt(sum((value - mean) ** 2 for value in first) / max(1, len(first) - 1))
    unique = {
        verdict: sum(len({s["text"] for s in row["samples"] if s["correct"] is verdict}) for row in judged)
        for verdict in (True, False)
    }
    used = sum(1 + len(pair["rejected"]) for pair in paired) - rationalized
    reasons = Counter(sample["reason"] for sample in samples if sample["reason"])
    rules = Counter(sample["rule"] for sample in samples if sample["correct"])
    judgeable = sum(sample["correct"] is not None for sample in samples)
    return {
        "gen/pass@1": mean,
        "gen/pass@1_se": spread / math.sqrt(len(first)),
        f"gen/pass@{k}": sum(pass_at(n, c, k) for n, c in zip(sizes, right, strict=True)) / len(sizes),
        "gen/valid_frac": sum(sample["valid"] for sample in samples) / len(samples),
        "gen/all_right_frac": sum(c == n for c, n in zip(right, sizes, strict=True)) / len(sizes),
        "gen/all_wrong_frac": sum(c == 0 for c in right) / len(sizes),
        "pairs/count": len(paired),
        "pairs/questions_with_pair_frac": len({pair["id"] for pair in paired}) / len(judged),
        "pairs/unique_correct": unique[True],
        "pairs/unique_incorrect": unique[False],
        "pairs/discarded_invalid": len(samples) - judgeable,
        "pairs/discarded_duplicate": judgeable - sum(unique.values()) if dedup == "text" else 0,
        "pairs/discarded_surplus": max(0, (sum(unique.values()) if dedup == "text" else judgeable) - used),
        **{f"pairs/invalid_{reason}": count for reason, count in sorted(reasons.items())},
        **{f"pairs/correct_by_{rule}": count for rule, count in sorted(rules.items())},
    }


def _lengths(sampled: list[dict[str, Any]], paired: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean length in tokens of the samples that went into pairs; None where none of them is a sample."""
    tokens = {
        (row["id"], sample["text"].strip()): len(sample["token_ids"]) for row in sampled for sample in row["samples"]
    }
    texts = {
        "chosen": [(pair["id"], pair["chosen"]) for pair in paired],
        "rejected": [(pair["id"], text) for pair in paired for text in pair["rejected"]],
    }
    lengths = {role: [tokens[text] for text in found if text in tokens] for role, found in texts.items()}
    return {f"pairs/{role}_len": sum(n) / len(n) if n else None for role, n in lengths.items()}


def _false_equations(
    paired: list[dict[str, Any]], questions: Mapping[str, dict[str, Any]], rows: Iterable[dict[str, Any]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Count texts with a false equation in their working, by source and role: chosen, rejected, and for comparison
    those of `rows`, which people or a generator wrote.

    Returns source -> role -> texts, those with an equation that can be judged, and of these the false ones; only
    sources whose chosen texts have such equations.
    """
    texts: dict[str, dict[str, list[str]]] = {}
    for pair in paired:
        found = texts.setdefault(questions[pair["id"]]["source"], {"chosen": [], "rejected": [], "sft": []})
        found["chosen"].append(pair["chosen"])
        found["rejected"] += pair["rejected"]
    for row in rows:
        found = texts.get(row["source"], {}) if row["kind"] == "cot" else {}
        if len(found.get("sft", "")) < HUMAN_ROWS and found:
            found["sft"].append(row["rationale"])
    most = sorted(texts, key=lambda source: -len(texts[source]["chosen"]))[:SOURCES]
    counted = {source: {role: _false(found) for role, found in texts[source].items()} for source in most}
    return {source: roles for source, roles in counted.items() if roles["chosen"]["equations"]}


def _false(texts: list[str]) -> dict[str, int]:
    verdicts = Counter(working.wrong(text) for text in texts)
    return {"texts": len(texts), "equations": verdicts[True] + verdicts[False], "false": verdicts[True]}


def _false_metrics(counted: dict[str, dict[str, dict[str, int]]]) -> dict[str, float]:
    """Return, by source and over all sources, the share of texts with a false equation among those with equations."""
    found: dict[str, float] = {}
    for role in ("chosen", "rejected", "sft"):
        numbers = [(source, roles[role]) for source, roles in counted.items() if roles[role]["equations"]]
        found |= {f"pairs/{source}/{role}_false_frac": n["false"] / n["equations"] for source, n in numbers}
        if numbers:
            every = [sum(n[what] for _, n in numbers) for what in ("false", "equations")]
            found[f"pairs/{role}_false_frac"] = every[0] / every[1]
    return found


def pass_at(n: int, c: int, k: int) -> float:
    """Return the probability that at least one of k samples drawn from n, of which c are right, is right."""
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def _worsened(samples: Path) -> str | None:
    """Return the reason if training made the model of the samples worse by itself, in the last stage that did."""
    path: Path | None = samples
    while path is not None and (path / "stage.json").exists():
        record = read_json(path / "stage.json")
        summary, kind = record["summary"], record["kind"]
        for name, what in (("heldout", "held-out loss"), ("seen", "loss of trained rows")):
            before, after = (summary.get(f"{name}_{when}", 0.0) for when in ("before", "after"))
            if after > before + WORSE and kind in record["config"]:
                return (
                    f"stage {record['name']} made the model worse, its {what} was {before:.2f} before and {after:.2f} "
                    f"after: lower {kind}.optim.lr={summary['lr']:.3g}"
                )
        read = record["reads"].get("updated") or record["reads"].get("model")  # of a merge, or of any other
        path = path.parent / read if read else None
    return None


def _no_pairs(counts: dict[str, Any], worsened: str | None) -> str:
    if worsened is not None:
        why = worsened
    elif 0 < counts["pairs/unique_correct"] <= counts.get("pairs/discarded_false", 0):
        why = "every right text has a false equation: pairs.check=none takes them all the same"
    elif counts["gen/valid_frac"] < 0.05:
        why = "almost no sample has a rationale and an answer: train longer (sft.epochs, sft.optim.lr)"
    elif counts["gen/pass@1"] < 0.01:
        why = "almost no answer is right: the questions are too hard for this model"
    elif counts["gen/all_right_frac"] > 0.9:
        why = "almost every answer is right: nothing left to teach with these questions"
    else:
        why = "no question has both a right and a wrong answer: raise generate.temperature or generate.num_samples"
    shown = ", ".join(f"{key.split('/')[1]} {value:.3g}" for key, value in counts.items())
    return f"no pair at all in this iteration; {why} ({shown})"
