import math

import pytest
import torch
from torch import Tensor

from memphis.methods.losses import (
    mixce,
    mixce_tokens,
    per_sequence,
    preference,
    rank,
    reduce,
    sequence_logps,
    token_logps,
)

log = math.log


def full(*rows: list[float]) -> tuple[Tensor, Tensor]:
    scores = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    return scores, torch.ones_like(scores, dtype=torch.bool)


# ---- log-probabilities of targets


def test_token_logps_by_hand():
    probs = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]]], dtype=torch.float64)
    labels = torch.tensor([[-100, 1, 2]])
    expected = [[log(0.25), log(0.7)]]
    torch.testing.assert_close(token_logps(probs.log(), labels), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(token_logps(probs[:, :2].log() + 5, labels), torch.tensor(expected, dtype=torch.float64))
    sums, counts = sequence_logps(probs.log(), labels)
    assert sums.item() == pytest.approx(log(0.25 * 0.7))
    assert counts.tolist() == [2]


def test_masked_tokens_give_zero_and_get_no_gradient():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7, requires_grad=True)
    labels = torch.tensor([[-100, -100, 3, 1, -100], [-100, -100, -100, -100, -100]])
    logps = token_logps(logits, labels)
    assert logps.shape == (2, 4)
    trained = labels[:, 1:] != -100
    assert (logps[~trained] == 0).all()
    assert (logps[trained] < 0).all()
    logps.sum().backward()
    assert (logits.grad[:, :-1][~trained] == 0).all()
    assert (logits.grad[:, -1] == 0).all()  # the last position predicts nothing
    assert (logits.grad[:, :-1][trained].abs().sum(1) > 0).all()
    sums, counts = sequence_logps(logits, labels)
    assert counts.tolist() == [2, 0]
    assert sums[1] == 0


def test_low_precision_logits_are_widened():
    logits = torch.randn(1, 4, 9).bfloat16()
    labels = torch.tensor([[-100, 2, 3, 4]])
    assert token_logps(logits, labels).dtype == torch.float32
    torch.testing.assert_close(token_logps(logits, labels), token_logps(logits.float(), labels))


def test_token_logps_refuses_other_shapes():
    labels = torch.zeros(2, 5, dtype=torch.long)
    for shape in [(2, 3, 7), (2, 6, 7), (1, 5, 7)]:
        with pytest.raises(ValueError, match="do not belong"):
            token_logps(torch.zeros(shape), labels)


def test_per_sequence_in_any_order_with_an_empty_one():
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    sums, counts = per_sequence(values, torch.tensor([2, 0, 2, 0]), 4)
    assert sums.tolist() == [10, 0, 5, 0]
    assert counts.tolist() == [2, 0, 2, 0]
    (sums / counts.clamp(min=1))[2].backward()
    assert values.grad.tolist() == [0.5, 0, 0.5, 0]


# ---- MixCE and reductions


def test_mixce_by_hand():
    logps = torch.tensor([log(0.5), log(0.25)], dtype=torch.float64, requires_grad=True)
    total, count = mixce(logps, 0.75)
    assert total.item() == pytest.approx((0.75 + 0.125) * log(2) + (0.75 + 0.0625) * log(4))
    assert count.item() == 2
    total.backward()
    assert logps.grad.tolist() == pytest.approx([-0.875, -0.8125])  # -(ratio + (1 - ratio) q), q not differentiated


def test_mixce_at_its_ends():
    logps = torch.tensor([-1.0, -300.0, 0.0])
    assert mixce(logps, 1.0)[0] == mixce(logps, None)[0] == 301
    assert mixce(logps, 0.0)[0].item() == pytest.approx(math.exp(-1))  # weight 0 on impossible and on certain tokens
    total, count = mixce(torch.empty(0), 0.75)
    assert (total.item(), count.item()) == (0, 0)
    for ratio in (-0.1, 1.1):
        with pytest.raises(ValueError, match="mixce ratio"):
            mixce(logps, ratio)


def test_reductions_by_hand():
    tokens, sequence = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([0, 0, 0, 2])
    assert [x.item() for x in reduce(tokens, sequence, 3, "token")] == [16, 4]
    assert [x.item() for x in reduce(tokens, sequence, 3, "sequence")] == [12, 2]  # sequence 1 has no targets
    assert [x.item() for x in reduce(tokens, sequence, 3, "microbatch_mean")] == [4, 1]
    for reduction in ("token", "sequence", "microbatch_mean"):
        nothing = reduce(torch.empty(0), torch.empty(0, dtype=torch.long), 3, reduction)
        assert [x.item() for x in nothing] == [0, 0]
    with pytest.raises(ValueError, match="reduction 'mean'"):
        reduce(tokens, sequence, 3, "mean")


@pytest.mark.parametrize("reduction", ["token", "sequence", "microbatch_mean"])
def test_only_microbatch_mean_depends_on_the_cut(reduction):
    torch.manual_seed(0)
    lengths = [1, 40, 3, 17]  # very unequal: a mean of means would be far off
    cuts = [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[3, 0], [1, 2]]]
    start = [torch.randn(n, dtype=torch.float64) - 3 for n in lengths]
    gradients = []
    for cut in cuts:
        logps = [x.clone().requires_grad_() for x in start]
        parts = []
        for rows in cut:
            ids = torch.cat([torch.full((lengths[row],), i) for i, row in enumerate(rows)])
            parts.append(reduce(mixce_tokens(torch.cat([logps[row] for row in rows]), 0.75), ids, len(rows), reduction))
        (sum(total for total, _ in parts) / sum(count for _, count in parts)).backward()
        gradients.append(torch.cat([x.grad for x in logps]))
    worst = max((g - gradients[0]).norm() / gradients[0].norm() for g in gradients)
    assert (worst < 1e-12) == (reduction != "microbatch_mean")
    assert reduction != "microbatch_mean" or worst > 0.1


# ---- rank


def test_equal_scores_cost_log_2_whatever_their_size():
    for score in (0.0, -1.5, -300.0):
        scores, valid = full([score, score])
        assert rank(scores, valid).item() == pytest.approx(log(2), abs=1e-12)
        scores, valid = full([score] * 4)
        assert rank(scores, valid).item() == pytest.approx(log(2), abs=1e-12)
        assert rank(scores, valid, use_average=False).item() == pytest.approx(log(4), abs=1e-12)


def test_rank_by_hand():
    scores, valid = full([log(0.5), log(0.25), log(0.125)])
    loss = rank(scores, valid)
    assert loss.item() == pytest.approx(-log(0.5 / (0.5 + 0.1875)))
    loss.sum().backward()
    assert scores.grad[0].tolist() == pytest.approx([-3 / 11, 2 / 11, 1 / 11])  # shares of 0.5 + (0.25 + 0.125) / 2
    assert rank(scores, valid, use_average=False).item() == pytest.approx(-log(0.5 / 0.875))
    scores, valid = full([-1.0, -3.0], [-3.0, -1.0])
    assert rank(scores, valid).tolist() == pytest.approx([math.log1p(math.exp(-2)), math.log1p(math.exp(2))])


def test_shifting_all_scores_changes_nothing_and_order_of_rejected_neither():
    scores, valid = full([-0.3, -0.9, -0.1, -2.0])
    for use_average in (True, False):
        expected = rank(scores, valid, use_average)
        torch.testing.assert_close(rank(scores - 50, valid, use_average), expected)
        torch.testing.assert_close(rank(scores[:, [0, 3, 1, 2]], valid, use_average), expected)


@pytest.mark.parametrize("garbage", [0.0, -1e30, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("use_average", [True, False])
def test_empty_slots_have_no_influence(garbage, use_average):
    scores, _ = full(
        [-1.0, -0.5, garbage, garbage], [-0.2, -0.4, -0.7, -0.1], [garbage] * 4, [-1.0, garbage, garbage, garbage]
    )
    valid = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    losses_ = rank(scores, valid, use_average)
    losses_.sum().backward()
    alone, everything = full([-1.0, -0.5])
    expected = rank(alone, everything, use_average)
    expected.backward()
    torch.testing.assert_close(losses_[:1], expected)
    torch.testing.assert_close(scores.grad[0, :2], alone.grad[0])
    assert (scores.grad[~valid] == 0).all()
    assert losses_[2:].tolist() == [0, 0]
    assert (scores.grad[3] == 0).all()
    torch.testing.assert_close(losses_[1:2], rank(*full([-0.2, -0.4, -0.7, -0.1]), use_average))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [0.0, 50.0, 90.0, 1e3, 1e30])
def test_large_gaps_keep_finite_gradients(gap, dtype):
    scores = torch.tensor([[0.0, -gap, -gap], [-gap, 0.0, -gap]], dtype=dtype, requires_grad=True)
    loss = rank(scores, torch.ones(2, 3, dtype=torch.bool))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert scores.grad.isfinite().all()
    torch.testing.assert_close(scores.grad.sum(1), torch.zeros(2, dtype=dtype))
    if gap >= 90:
        torch.testing.assert_close(scores.grad[1], torch.tensor([-1, 1, 0], dtype=dtype))

    def as_written(scores: Tensor) -> Tensor:  # the formula without log-sum-exp, which overflows
        return -(scores[:, 0].exp() / (scores[:, 0].exp() + scores[:, 1:].exp().mean(1))).log()

    if gap >= 1e3:
        assert not as_written(scores.detach())[1].isfinite()


def test_rank_gradients():
    scores, valid = full([-0.3, -0.9, -0.1], [-2.0, -0.4, -0.2])
    valid[1, 2] = False
    for use_average in (True, False):
        assert torch.autograd.gradcheck(lambda s, average=use_average: rank(s, valid, average), scores)


def test_a_group_of_one_costs_nothing():
    scores, valid = full([-0.3], [-2.0])
    loss = rank(scores, valid)
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert scores.grad.tolist() == [[0], [0]]


def test_rank_refuses_other_shapes():
    for shape in [(2,), (3, 2), (2, 3, 1)]:
        with pytest.raises(ValueError, match="must both be"):
            rank(torch.zeros(2, 3), torch.ones(shape, dtype=torch.bool))


# ---- preference


def test_preference_by_hand():
    chosen, rejected, nothing = torch.tensor([-2.0, -9.0]), torch.tensor([-5.0, -3.0]), torch.zeros(2)
    sigmoid = preference(chosen, rejected, nothing, nothing, beta=0.1)
    assert sigmoid.tolist() == pytest.approx([math.log1p(math.exp(-0.3)), math.log1p(math.exp(0.6))])
    assert preference(chosen, rejected, nothing, nothing, 0.5, "hinge").tolist() == pytest.approx([0, 4])
    # only the change against the reference counts
    assert preference(chosen, rejected, chosen, rejected, 0.1).tolist() == pytest.approx([log(2)] * 2)
    with pytest.raises(ValueError, match="neither sigmoid nor hinge"):
        preference(chosen, rejected, nothing, nothing, 0.1, "ipo")


def test_preference_and_rank_agree_on_one_pair():
    scores, valid = full([-0.7, -0.4])
    nothing = torch.zeros(1, dtype=torch.float64)
    torch.testing.assert_close(preference(scores[:, 0], scores[:, 1], nothing, nothing, 1.0), rank(scores, valid))


def test_preference_with_large_gaps():
    gap = torch.tensor([-1e4, 1e4], requires_grad=True)
    nothing = torch.zeros(2)
    loss = preference(gap, nothing, nothing, nothing, 1.0)
    loss.sum().backward()
    assert loss.tolist() == [1e4, 0]
    assert gap.grad.tolist() == [-1, 0]
