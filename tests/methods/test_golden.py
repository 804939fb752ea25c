"""Tests against numbers recorded from the original implementations (tests/golden), each in its dtype and tolerance.

`RUN` defines how our functions are called on a case; `OUTSIDE` lists the cases they cannot express, on purpose.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from memphis.methods import adalite, losses, neftune, schedules, slerp

GOLDEN = Path(__file__).parent.parent / "golden"
DTYPES = {"float64": torch.float64, "float32": torch.float32}


def tensor(values, case: dict, *, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=DTYPES[case.get("dtype", "float64")], requires_grad=grad)


class Close:
    """Assertion on the largest difference relative to the largest expected value: the measure of the golden files."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def __call__(self, actual, expected, what: str) -> None:
        actual = torch.as_tensor(actual, dtype=torch.float64).detach()
        expected = torch.as_tensor(expected, dtype=torch.float64)
        assert actual.shape == expected.shape, what
        scale = expected.abs().max().item() or 1.0
        worst = (actual - expected).abs().max().item() / scale
        assert worst <= self.tolerance, f"{what}: off by {worst:.1e}, allowed {self.tolerance:.1e}"


def run_adalite(variant: str) -> Callable:
    def run(case: dict, file: dict, close: Close) -> None:
        names = {"Lambda": "decay", "eps": "eps", "beta_decay": "beta_decay", "centralize": "centralize"}
        hyper = {names[key]: value for key, value in case["hyper"].items() if key != "use_rms"}  # had no effect
        expected = case["expected"]
        left_behind = {entry["after_step"]: entry["grad"] for entry in expected["grad_after_step"]}
        for start in (0, 3):  # from the first step, and resumed from the recorded state
            p = torch.nn.Parameter(tensor(case["p0"] if start == 0 else expected["p"][start - 1], case))
            optimizer = adalite.Adalite([p], lr=1.0, variant=variant, **hyper)
            if start:
                state = expected["state"][start - 1]
                saved = {**optimizer.state_dict(), "state": {0: {"step": state["step"], "c": tensor(state["c"], case)}}}
                optimizer.load_state_dict(saved)
            for step in range(start, len(case["grads"])):
                p.grad = tensor(case["grads"][step], case)
                if step + 1 in left_behind:
                    left = adalite.centralized(p.grad) if hyper.get("centralize", True) else p.grad
                    close(left, left_behind[step + 1], f"centralized gradient {step + 1}")
                optimizer.param_groups[0]["lr"] = case["lr"][step]
                optimizer.step()
                close(p, expected["p"][step], f"p after step {step + 1} from {start}")
                close(optimizer.state[p]["c"], expected["state"][step]["c"], f"c after step {step + 1} from {start}")
                assert optimizer.state[p]["step"] == expected["state"][step]["step"]

    return run


def targets_of(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute (logps [N], index of the sequence of each) in the training loop's flat way, head = identity matrix."""
    sequence, position = (labels[:, 1:] != losses.IGNORE).nonzero(as_tuple=True)
    hidden = logits[sequence, position]
    identity = torch.eye(logits.shape[-1], dtype=logits.dtype)
    return losses.target_logps(hidden, identity, labels[:, 1:][sequence, position], chunk_bytes=200), sequence


def padded(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the same in the plain way: full logits, then the target positions."""
    sequence, position = (labels[:, 1:] != losses.IGNORE).nonzero(as_tuple=True)
    return losses.token_logps(logits, labels)[sequence, position], sequence


WAYS = {"flat": targets_of, "padded": padded}


def run_mixce(case: dict, file: dict, close: Close) -> None:
    for way, logps_of in WAYS.items():
        logits = tensor(case["logits"], case, grad=True)
        logps, _ = logps_of(logits, torch.tensor(case["labels"]))
        total, count = losses.mixce(logps, case["mixce"])
        (total / count).backward()
        close(total / count, case["expected"]["loss"], f"{way} loss")
        close(logits.grad, case["expected"]["grad_logits"], f"{way} gradient")


def run_sequence_logprobs(case: dict, file: dict, close: Close) -> None:
    logits, labels, expected = tensor(case["logits"], case), torch.tensor(case["labels"]), case["expected"]
    close(losses.token_logps(logits, labels), expected["token_logprobs"], "token log-probs")
    close(losses.token_logps(logits, labels) * (labels[:, 1:] != -100), expected["token_logprobs"], "mask")
    logps, sequence = targets_of(logits, labels)
    for sums, counts in (losses.sequence_logps(logits, labels), losses.per_sequence(logps, sequence, len(labels))):
        assert counts.tolist() == expected["n_tokens"]
        close(sums, expected["sum"], "sum")
        close(sums / counts.clamp(min=1), expected["mean"], "mean")


def run_rank_loss(case: dict, file: dict, close: Close) -> None:
    scores, ranks = tensor(case["logprobs"], case, grad=True), torch.tensor(case["ranks"])
    per_example = losses.rank(scores, ranks != -100, case["use_average"])
    per_example.mean().backward()
    close(per_example, case["expected"]["per_example"], "per example")
    close(per_example.mean(), case["expected"]["mean"], "mean")
    close(scores.grad, case["expected"]["grad_logprobs_of_mean"], "gradient")


def run_combined_loss(case: dict, file: dict, close: Close) -> None:
    labels, hyper, expected = torch.tensor(case["labels"]), case["hyper"], case["expected"]
    groups, size = labels.shape[:2]
    for way, logps_of in WAYS.items():
        logits = tensor(case["logits"], case, grad=True)
        logps, sequence = logps_of(logits.flatten(0, 1), labels.flatten(0, 1))
        sums, counts = losses.per_sequence(logps, sequence, groups * size)
        scores = (sums / counts.clamp(min=1)).view(groups, size)
        rank = losses.rank(scores, torch.tensor(case["ranks"]) != -100, hyper["use_average"]).mean()
        total, count = losses.mixce(logps[sequence % size == 0], hyper["mixce"])
        loss = total / count + hyper["beta"] * rank
        loss.backward()
        close(total / count, expected["lm_loss"], f"{way} lm loss")
        close(rank, expected["rank_loss"], f"{way} rank loss")
        close(loss, expected["loss"], f"{way} loss")
        close(logits.grad, expected["grad_logits"], f"{way} gradient")


def run_ce_target(case: dict, file: dict, close: Close) -> None:
    table = tensor(case["bigram_table"], case, grad=True)

    def logps_of(ids: list[int], labels: list[int]) -> Tensor:
        return padded(table[torch.tensor(ids)][None], torch.tensor(labels)[None])[0]

    rank, ce = [], []
    for row in case["rows"]:
        answers = [logps_of(*pair) for pair in zip(row["input_ids"], row["labels"], strict=True)]
        scores = torch.stack([logps.mean() for logps in answers])[None]
        rank.append(losses.rank(scores, torch.ones(1, len(answers), dtype=torch.bool)))
        ce.append(answers[0] if case["ce_target"] == "chosen" else logps_of(row["ce_ids"], row["ce_labels"]))
    total, count = losses.mixce(torch.cat(ce), None)
    loss = total / count + case["beta"] * torch.cat(rank).mean()
    loss.backward()
    close(total / count, case["expected"]["lm_loss"], "lm loss")
    close(torch.cat(rank).mean(), case["expected"]["rank_loss"], "rank loss")
    close(loss, case["expected"]["loss"], "loss")
    close(table.grad, case["expected"]["grad_table"], "gradient")


def run_accumulation(case: dict, file: dict, close: Close) -> None:
    for reduction, expected in case["expected"].items():
        logits, labels = tensor(case["logits"], case, grad=True), torch.tensor(case["labels"])
        parts = []
        for rows in case["microbatches"]:
            logps, sequence = targets_of(logits[rows], labels[rows])
            tokens = losses.mixce_tokens(logps, case["mixce"])
            parts.append(losses.reduce(tokens, sequence, len(rows), reduction))
        loss = sum(total for total, _ in parts) / sum(count for _, count in parts)
        loss.backward()
        close(loss, expected["loss"], reduction)
        close(logits.grad, expected["grad_logits"], f"{reduction} gradient")


def run_neftune(case: dict, file: dict, close: Close) -> None:
    embeddings = tensor(file["embedding_weight"], case)[torch.tensor(file["input_ids"])]
    uniform, mask = tensor(file["uniform01"], case), torch.tensor(file["attention_mask"])
    width, variant = embeddings.shape[-1], case["variant"]
    for row, true_length in enumerate(mask.sum(1).tolist()):
        length = {"supertrainer2000": case.get("seq_len"), "hf": mask.shape[1], "paper": true_length}[variant]
        scale = neftune.noise_scale(case["alpha"], length, width)
        noised = true_length if variant == "paper" else mask.shape[1]
        embeddings[row, :noised] += neftune.from_uniform(uniform[row, :noised], scale, variant)
        if variant == "paper":
            close(scale, case["expected"]["high_per_sequence"][row], "bound")
        else:
            close(scale, case["expected"]["high"], "upper bound")
            close(neftune.from_uniform(torch.zeros(()), scale, variant), case["expected"]["low"], "lower bound")
    close(embeddings, case["expected"]["embeddings"], "embeddings")


def run_schedule(case: dict, file: dict, close: Close) -> None:
    total, warmup = case["total_steps"], case["warmup_steps"]
    ratio = case.get("warmup_ratio", max(0, warmup - 0.5) / total)  # without a ratio: any that rounds up to the steps
    factor = schedules.SCHEDULES[case["kind"]]
    close([case["base_lr"] * factor(k, total, ratio) for k in range(total)], case["expected"]["lr"], "lr")


def run_slerp(case: dict, file: dict, close: Close) -> None:
    if "order" in case:  # model_cases: per tensor, or the whole model as one vector read piece by piece
        for t, expected in case["expected"].items():
            previous, updated = ({n: tensor(v, case) for n, v in case[key].items()} for key in ("v0", "v1"))
            sums = [sum(s) for s in zip(*(slerp.products(previous[n], updated[n]) for n in case["order"]), strict=True)]
            both = slerp.coefficients(sums[0], sums[1] ** 0.5, sums[2] ** 0.5, float(t), 0.9995)
            for name in case["order"]:
                one = slerp.slerp(previous[name], updated[name], float(t))
                close(one, expected["per_tensor"][name], f"per tensor {name} at {t}")
                flat = slerp.blend(previous[name], updated[name], *both)
                close(flat, expected["flat"][name], f"flat {name} at {t}")
        return
    for t, per_dtype in case["expected"].items():
        for dtype, expected in per_dtype.items():
            both = (torch.tensor(case[key], dtype=DTYPES[dtype]) for key in ("v0", "v1"))
            actual = slerp.slerp(*both, float(t))
            assert actual.dtype == DTYPES[dtype]
            Close(file["tolerance"][dtype])(actual, expected, f"{dtype} at {t}")


def run_spin_loss(case: dict, file: dict, close: Close) -> None:
    names = ("policy_real", "policy_generated", "opponent_real", "opponent_generated")
    values = [tensor(case[name], case, grad=name.startswith("policy")) for name in names]
    policy, opponent = values[:2], values[2:]
    reference = [torch.zeros_like(v) for v in opponent] if case["reference_free"] else opponent
    per_pair = losses.preference(*policy, *reference, case["beta"], case["loss_type"])
    per_pair.mean().backward()
    close(per_pair, case["expected"]["losses"], "losses")
    close(per_pair.mean(), case["expected"]["mean"], "mean")
    for name, value in zip(names[:2], policy, strict=True):
        close(value.grad, case["expected"][f"grad_{name}"], f"gradient of {name}")


# file: (how it is run, number of cases in it)
RUN: dict[str, tuple[Callable, int]] = {
    "adalite": (run_adalite("jan31"), 21),
    "adalite_feb5": (run_adalite("feb5"), 21),
    "mixce": (run_mixce, 7),
    "sequence_logprobs": (run_sequence_logprobs, 3),
    "rank_loss": (run_rank_loss, 16),
    "combined_loss": (run_combined_loss, 12),
    "ce_target": (run_ce_target, 2),
    "accumulation": (run_accumulation, 2),
    "neftune": (run_neftune, 7),
    "schedule": (run_schedule, 6),
    "slerp": (run_slerp, 15),
    "spin_loss": (run_spin_loss, 4),
}
OUTSIDE = {
    "detach_negatives, which the recipe never turns on": [
        "rank_loss/neg1_avg1_detach1",
        "rank_loss/neg1_avg0_detach1",
        "rank_loss/neg2_avg1_detach1",
        "rank_loss/neg2_avg0_detach1",
        "rank_loss/neg4_avg1_detach1",
        "rank_loss/neg4_avg0_detach1",
        "combined_loss/S2_beta0.25_detach_negativesTrue",
        "combined_loss/S3_beta0.25_detach_negativesTrue",
    ],
    "several rank levels: there is one chosen response and the rest": [
        "rank_loss/multi_level_avg1",
        "rank_loss/multi_level_avg0",
    ],
    "bfloat16, recorded for information only": ["adalite/2d_bfloat16_informative"],
}
OUTSIDE_FILES = ["adalite_v2"]  # the March optimizer is a different one


def load(name: str) -> dict:
    file = json.loads((GOLDEN / f"{name}.json").read_text())
    file["cases"] += file.get("model_cases", [])
    return file


FILES = {name: load(name) for name in RUN}
CASES = {f"{name}/{case['name']}": (name, case) for name, file in FILES.items() for case in file["cases"]}
LISTED = {case for cases in OUTSIDE.values() for case in cases}


def check(name: str, case: dict) -> None:
    tolerance = FILES[name]["tolerance"][case.get("dtype", "float64")]
    RUN[name][0](case, FILES[name], Close(tolerance))


@pytest.mark.parametrize("case_id", [case for case in CASES if case not in LISTED])
def test_golden(case_id: str) -> None:
    check(*CASES[case_id])


def test_what_is_outside_is_listed_and_does_not_grow():
    def inexpressible(case: dict) -> bool:
        detached = case.get("detach_negatives") or case.get("hyper", {}).get("detach_negatives")
        levels = any(rank > 1 for row in case.get("ranks", []) for rank in row)
        return bool(detached or levels or case.get("dtype") == "bfloat16")

    assert {case_id for case_id, (_, case) in CASES.items() if inexpressible(case)} == LISTED
    assert len(LISTED) == 11
    assert OUTSIDE_FILES == ["adalite_v2"]
    assert not set(OUTSIDE_FILES) & set(RUN)


@pytest.mark.parametrize("name", RUN)
def test_no_case_was_lost(name: str) -> None:
    assert len(FILES[name]["cases"]) == RUN[name][1]


# Each entry breaks one thing that is easy to get wrong; the named case must fail.
MUTANTS = {
    "q keeps its gradient in MixCE": (
        "mixce/mixce_0.75",
        losses,
        "mixce_tokens",
        lambda logps, ratio: -(ratio + (1 - ratio) * logps.exp()) * logps,
    ),
    "an empty slot counts as a response": (
        "rank_loss/ragged_groups",
        losses,
        "rank",
        lambda scores, valid, use_average, right=losses.rank: right(scores, torch.ones_like(valid), use_average),
    ),
    "sum instead of mean over rejected": (
        "rank_loss/neg2_avg1_detach0",
        losses,
        "rank",
        lambda scores, valid, use_average, right=losses.rank: right(scores, valid, not use_average),
    ),
    "summed instead of length-normalised scores": (
        "combined_loss/S2_beta0.25",
        losses,
        "per_sequence",
        lambda values, ids, n, right=losses.per_sequence: (right(values, ids, n)[0], torch.ones(n)),
    ),
    "every micro-batch averaged by itself": (
        "accumulation/two_microbatches_mixce_None",
        losses,
        "reduce",
        lambda tokens, ids, n, reduction, right=losses.reduce: right(tokens, ids, n, "microbatch_mean"),
    ),
    "no centralization": ("adalite/2d_default_float64", adalite, "centralized", lambda gradient: gradient),
    "row statistics in the column variant": (
        "adalite_feb5/3d_default_float64",
        adalite,
        "_rest",
        lambda dims, variant, right=adalite._rest: right(dims, "jan31"),
    ),
    "t is the weight of the previous model": (
        "slerp/random_2d",
        slerp,
        "coefficients",
        lambda *args, right=slerp.coefficients: right(*args)[::-1],
    ),
    "symmetric noise": (
        "neftune/supertrainer_a10_L4096",
        neftune,
        "from_uniform",
        lambda uniform, scale, variant: (2 * uniform - 1) * scale,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_golden_numbers_notice(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id, module, name, wrong = MUTANTS[mutant]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        check(*CASES[case_id])
