"""Tests that the fast implementation gives the gradients of the slow one, for any micro-batches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from memphis.config.sections import Neftune, Optim
from memphis.losses import CrossEntropy, RankLoss
from memphis.methods.adalite import Adalite
from memphis.training import attention, forward
from memphis.training.batches import cut, flatten, num_tokens
from memphis.training.forward import target_logps
from memphis.training.layers import decoder_layers, recompute
from memphis.training.loop import gradients, score, train
from memphis.training.objective import Totals
from memphis.training.train_plan import TrainPlan
from tests.training.conftest import make_examples, micro_batches
from tests.training.plain import VOCAB, make_model, plain_gradients, worst_error

TOLERANCE = 1e-5
SFT = TrainPlan(family="sft", epochs=1, global_batch_size=7, optim=Optim(lr=1e-3), seed=5, micro_batch_tokens=60)
RANK = replace(SFT, family="rank", objective=RankLoss())


def flat_gradients(model, window, plan=SFT, keys=None, **how) -> dict[str, Tensor]:
    model.zero_grad()
    model.train()
    batches = [flatten(window, members) for members in cut(window, plan.micro_batch_tokens, plan.shared)]
    gradients(model, batches, plan, Totals.of(batches, plan), keys=keys or range(len(window)), **how)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


CASES = {
    "ce": (SFT, {}, {"loss": "sft"}),
    "mixce": (replace(SFT, objective=CrossEntropy(mixce=0.75)), {}, {"loss": "sft", "mixce": 0.75}),
    "rank": (RANK, {"rejected": 1}, {"loss": "rank"}),
    "rank, three rejected": (RANK, {"rejected": 3}, {"loss": "rank"}),
    "rank, gold": (
        replace(RANK, objective=RankLoss(ce_target="gold", mixce=0.5)),
        {"rejected": 1, "gold": True},
        {"loss": "rank", "gold": True, "mixce": 0.5},
    ),
}


@pytest.mark.parametrize(
    ("kind", "packing"),
    [("stablelm", "packed"), ("llama", "packed"), ("gpt_neox", "packed"), ("llama", "padded"), ("llama", "equal")],
)
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_those_of_rows_one_by_one_with_full_logits(case: str, kind: str, packing: str) -> None:
    plan, shape, how = CASES[case]
    plan = replace(plan, packing=packing)
    model, window = make_model(kind=kind, packed=packing == "packed"), make_examples(7, **shape)
    assert len(window[0].sequences[0].input_ids) == window[0].prompt_length + 1  # a one-token completion is there
    assert worst_error(flat_gradients(model, window, plan), plain_gradients(model, window, **how)) <= TOLERANCE


@pytest.mark.parametrize("case", ["mixce", "rank"])
def test_a_mean_per_micro_batch_would_fail(case: str) -> None:
    plan, shape, how = CASES[case]
    model, window = make_model(), make_examples(7, **shape)
    wrong = flat_gradients(model, window, replace(plan, reduction="microbatch_mean"))
    assert worst_error(wrong, plain_gradients(model, window, **how)) > 100 * TOLERANCE


@pytest.mark.parametrize("case", ["mixce", "rank, gold"])
def test_micro_batches_and_order_inside_a_window_change_nothing(case: str) -> None:
    plan, shape, _ = CASES[case]
    plan = replace(plan, neftune=Neftune(alpha=2.0, variant="hf"))
    model, window = make_model(), make_examples(7, **shape)
    expected = flat_gradients(model, window, plan)
    for budget in (1, 40, 100_000):
        assert (
            worst_error(flat_gradients(model, window, replace(plan, micro_batch_tokens=budget)), expected) <= TOLERANCE
        )
    keys = [3, 0, 6, 1, 5, 2, 4]
    permuted = flat_gradients(model, [window[k] for k in keys], plan, keys=keys)
    assert worst_error(permuted, expected) <= TOLERANCE


def test_frozen_and_trainable_head_give_the_same_gradients() -> None:
    window = make_examples(7)
    frozen, free = (flat_gradients(make_model(frozen=f), window) for f in ("input", "none"))
    both = flat_gradients(make_model(frozen="both"), window)
    assert set(free) - set(both) == {"lm_head.weight", "model.embed_tokens.weight"}
    assert set(frozen) - set(both) == {"lm_head.weight"}
    assert worst_error({n: free[n] for n in both}, both) <= TOLERANCE
    expected = plain_gradients(make_model(frozen="none"), window, loss="sft")
    assert worst_error(free, expected) <= TOLERANCE


def test_a_shared_prompt_equals_one_prompt_per_sequence() -> None:
    model, window = make_model(), make_examples(6, rejected=2, gold=True)
    plan = replace(RANK, objective=RankLoss(ce_target="gold"))
    unshared = [replace(example, prompt_length=0) for example in window]
    assert sum(len(b.input_ids) for b in micro_batches(unshared, 60)) > sum(
        len(b.input_ids) for b in micro_batches(window, 60)
    )
    assert worst_error(flat_gradients(model, window, plan), flat_gradients(model, unshared, plan)) <= TOLERANCE


@pytest.mark.parametrize("case", ["mixce", "rank, gold"])
def test_packed_and_padded_rows_differ_in_nothing(case: str) -> None:
    """Compare gradients with noise, all parameters trained, layers recomputed; and the metrics."""
    plan, shape, _ = CASES[case]
    plan = replace(plan, neftune=Neftune(alpha=5.0, variant="paper"))
    window, found, metrics = make_examples(7, **shape), {}, {}
    for packing in ("packed", "padded", "equal"):
        mine = replace(plan, packing=packing)
        model = make_model(frozen="none", packed=packing == "packed")
        recompute(model, 1)
        found[packing] = flat_gradients(model, window, mine)
        batches = [flatten(window, members) for members in cut(window, 60, mine.shared)]
        totals = Totals.of(batches, mine)
        values = gradients(model, batches, mine, totals, keys=range(7))
        metrics[packing] = {name: float(value) for name, value in values.items()}
        assert torch.allclose(score(model, window, mine), score(make_model(), window, plan), atol=1e-4)
    for packing in ("padded", "equal"):
        assert worst_error(found[packing], found["packed"]) <= TOLERANCE
        assert metrics[packing] == pytest.approx(metrics["packed"], rel=1e-5)


def test_padded_rows_count_every_prompt_in_a_micro_batch() -> None:
    window = make_examples(20, rejected=2)
    for group in cut(window, 150, shared=False):
        assert len(group) == 1 or sum(len(s.input_ids) for i in group for s in window[i].sequences) <= 150
    assert num_tokens(window[0], shared=False) == sum(len(s.input_ids) for s in window[0].sequences)


def test_padded_logits_are_made_in_chunks_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    window, plan = make_examples(8), replace(SFT, packing="padded", micro_batch_tokens=10_000)
    expected = flat_gradients(make_model(packed=False), window, plan)
    monkeypatch.setattr(forward, "_CHUNK_BYTES", 4 * VOCAB * 3)
    sizes, original = [], forward._chosen
    monkeypatch.setattr(forward, "_chosen", lambda logits, *rest: sizes.append(len(logits)) or original(logits, *rest))
    assert worst_error(flat_gradients(make_model(packed=False), window, plan), expected) <= TOLERANCE
    assert max(sizes) == 3
    assert sum(sizes) == 2 * len(flatten(window, range(8)).targets)  # once more in the backward pass


@pytest.mark.parametrize("number", [1, 2])
def test_checkpointing_gives_the_same_gradients(number: int) -> None:
    model, window = make_model(), make_examples(7, rejected=1)
    expected, seen = flat_gradients(model, window, RANK), []
    for layer in decoder_layers(model):
        layer.mlp.register_forward_pre_hook(lambda module, _: seen.append(module))
    once = len(micro_batches(window, RANK.micro_batch_tokens))
    recompute(model, number)
    assert worst_error(flat_gradients(model, window, RANK), expected) == 0
    times = [seen.count(layer.mlp) for layer in decoder_layers(model)]
    assert times == [2 * once if i < number else once for i in range(2)]
    recompute(model, 0)
    seen.clear()
    flat_gradients(model, window, RANK)
    assert len(seen) == 2 * once


@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_bfloat16_autocast_is_close(packing: str) -> None:
    model, window = make_model(), make_examples(7)
    other = make_model(packed=packing == "packed")
    half = flat_gradients(other, window, replace(SFT, dtype="bfloat16", packing=packing))
    assert 1e-4 < worst_error(half, flat_gradients(model, window)) < 0.2


@pytest.mark.parametrize("reduction", ["token", "microbatch_mean"])
def test_displacement_of_a_few_steps(reduction: str, tmp_path, log) -> None:
    """Compare displacements with those of a plain padded loop; a wrong normalisation shows here, too."""
    plan = replace(SFT, objective=CrossEntropy(mixce=0.75), global_batch_size=4, reduction=reduction, warmup_ratio=0.0)
    examples = make_examples(12)
    fast, slow = make_model(), make_model()
    start = {n: p.detach().clone() for n, p in slow.named_parameters() if p.requires_grad}
    train(fast, examples, plan, out_dir=tmp_path, log=log)

    from memphis.methods.schedules import cosine
    from memphis.training.loop import epoch_order

    params = {n: p for n, p in slow.named_parameters() if p.requires_grad}
    optimizer = Adalite(list(params.values()), lr=1e-3)
    order = epoch_order(12, plan.seed, 0)
    for step in range(3):
        for name, g in plain_gradients(
            slow, [examples[i] for i in order[4 * step : 4 * step + 4]], loss="sft", mixce=0.75
        ).items():
            params[name].grad = g.float()
        optimizer.param_groups[0]["lr"] = 1e-3 * cosine(step, 3, 0.0)
        optimizer.step()
    moved = {n: p.detach() - start[n] for n, p in fast.named_parameters() if n in start}
    expected = {n: p.detach() - start[n] for n, p in slow.named_parameters() if n in start}
    error = worst_error(moved, expected)
    assert error <= 1e-3 if reduction == "token" else error > 1e-2


def test_other_sequences_do_not_leak() -> None:
    model, window = make_model(), make_examples(5, rejected=1)
    batch = flatten(window, [0, 1, 2, 3, 4])
    noise = torch.zeros(len(batch.input_ids), 32, requires_grad=True)
    with attention.attending(batch.rows):
        logps = target_logps(model, batch, dtype=torch.float32, noise=noise)
    for sequence in range(len(batch.counts)):
        (g,) = torch.autograd.grad(logps[batch.target_sequence == sequence].sum(), noise, retain_graph=True)
        member = int(batch.sequence_member[sequence])
        start, size = batch.spans[member]
        prompt, chosen = window[member].prompt_length, len(window[member].sequences[0].input_ids)
        mine = torch.zeros(len(noise), dtype=torch.bool)
        mine[start : start + prompt] = True
        mine[start + prompt : start + chosen] = batch.column[sequence] == 0
        mine[start + chosen : start + size] = batch.column[sequence] == 1
        assert not g[~mine].any()
        assert g[start : start + prompt].any(1).all()


def test_the_rejected_text_does_not_change_the_chosen_log_probabilities() -> None:
    model, window = make_model(), make_examples(5, rejected=1)
    other = make_examples(5, rejected=1, seed=1)
    changed = []
    for ours, theirs in zip(window, other, strict=True):
        prompt = ours.sequences[0].input_ids[: ours.prompt_length]
        tail = theirs.sequences[1].input_ids[theirs.prompt_length :]
        rejected = replace(ours.sequences[1], input_ids=prompt + tail, labels=[-100] * len(prompt) + tail)
        changed.append(replace(ours, sequences=(ours.sequences[0], rejected)))
    before, after = score(model, window, RANK), score(model, changed, RANK)
    torch.testing.assert_close(before[:, 0], after[:, 0], rtol=1e-5, atol=1e-5)
    assert (before[:, 1] != after[:, 1]).all()


def test_prompt_tokens_are_no_targets() -> None:
    window = make_examples(6, rejected=1)
    for batch in micro_batches(window, 80):
        for sequence, member in enumerate(batch.sequence_member.tolist()):
            example = window[batch.members[member]]
            ours = batch.target_sequence == sequence
            ids = example.sequences[int(batch.column[sequence])].input_ids
            assert batch.targets[ours].tolist() == ids[example.prompt_length :]
            assert batch.position_ids[batch.predictors[ours]].tolist() == list(
                range(example.prompt_length - 1, len(ids) - 1)
            )


def test_only_target_positions_reach_the_head() -> None:
    class Largest(TorchDispatchMode):
        rows = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, Tensor) and tensor.dim() >= 2 and tensor.shape[-1] == VOCAB:
                    self.rows = max(self.rows, tensor.numel() // VOCAB)
            return result

    window = make_examples(8)
    plan = replace(SFT, micro_batch_tokens=10_000)
    with Largest() as largest:
        flat_gradients(make_model(), window, plan)
    (batch,) = micro_batches(window, 10_000)
    assert 0 < largest.rows <= len(batch.targets) < len(batch.input_ids)


def test_micro_batches_hold_every_token_once_and_no_padding() -> None:
    window = make_examples(20, rejected=2, gold=True)
    batches = micro_batches(window, 150)
    assert sorted(m for b in batches for m in b.members) == list(range(20))
    assert all(len(b.input_ids) <= 150 or len(b.members) == 1 for b in batches)
    expected = sum(
        e.prompt_length + sum(len(s.input_ids) - e.prompt_length for s in (*e.sequences, e.gold)) for e in window
    )
    assert sum(len(b.input_ids) for b in batches) == expected
    assert [len(group) for group in cut(window, 1)] == [1] * 20


def test_blocks_of_attention_waste_little() -> None:
    window = make_examples(40, longest=200)
    rows = flatten(window, list(range(40))).rows
    assert len(rows.blocks.slots.flat) <= 1.12 * len(rows.blocks.slots.home)
    assert len(rows.blocks.shapes) < 40


def test_a_forward_outside_of_attending_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside"):
        make_model()(input_ids=torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize("variant", ["supertrainer2000", "hf", "paper"])
def test_noise_belongs_to_seed_step_and_example(variant: str) -> None:
    model, window = make_model(), make_examples(7)
    plan = replace(SFT, neftune=Neftune(alpha=5.0, variant=variant, length=64))
    expected = flat_gradients(model, window, plan)
    assert worst_error(flat_gradients(model, window, plan), expected) == 0
    for other in (
        flat_gradients(model, window, plan, step=1),
        flat_gradients(model, window, replace(plan, seed=6)),
        flat_gradients(model, window, plan, keys=range(1, 8)),
        flat_gradients(model, window, SFT),
    ):
        assert worst_error(other, expected) > 1e-2


def test_scoring_is_free_of_noise() -> None:
    model, window = make_model(), make_examples(7, rejected=1)
    noisy = replace(RANK, neftune=Neftune(alpha=5.0, variant="hf"))
    assert torch.equal(score(model, window, noisy), score(model, window, RANK))
