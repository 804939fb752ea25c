"""Reference for the fast implementation: rows one by one, eager attention, full logits, in float64. Slow and obvious."""

import copy

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softplus
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    StableLmConfig,
    StableLmForCausalLM,
)

from memphis.data.tokens import Example
from memphis.training import attention
from memphis.training.model import freeze

VOCAB = 97


def make_model(
    seed: int = 0, frozen: str = "both", kind: str = "stablelm", packed: bool = True, window: int | None = None
) -> PreTrainedModel:
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2 if kind == "llama" else 4,
        "max_position_embeddings": 128,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "gpt_neox":  # as in exp/small
            del shape["num_key_value_heads"]
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape))
        elif kind == "llama":
            model = LlamaForCausalLM(LlamaConfig(**shape))
        elif kind == "mistral":
            model = MistralForCausalLM(MistralConfig(**shape, sliding_window=window))
        else:
            model = StableLmForCausalLM(StableLmConfig(**shape))
        with torch.no_grad():
            for name, p in model.named_parameters():  # far from uniform attention and from zero biases
                p.normal_(0, 0.25).add_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    if packed:
        model.set_attn_implementation(attention.NAME)
    freeze(model, frozen)
    return model


def plain_logps(model: PreTrainedModel, sequences: list) -> list[Tensor]:
    """Return the target log-probabilities of every sequence, one by one, from full logits."""
    found = []
    for s in sequences:
        if (getattr(model.config, "rope_parameters", None) or {}).get("rope_type") == "dynamic":
            model(input_ids=torch.tensor([s.input_ids[:1]]))  # such embeddings keep the longest length seen until now
        logps = log_softmax(model(input_ids=torch.tensor([s.input_ids]), use_cache=False).logits[0], -1)
        at = [i for i in range(1, len(s.labels)) if s.labels[i] != -100]
        found.append(logps[[i - 1 for i in at], [s.labels[i] for i in at]])
    return found


def plain_loss(
    model: PreTrainedModel, window: list[Example], *, loss: str, mixce=None, weight=0.25, gold=False
) -> Tensor:
    chosen = plain_logps(model, [e.sequences[0] for e in window])
    targets = plain_logps(model, [e.gold for e in window]) if gold else chosen
    flat = torch.cat(targets)
    q = flat.detach().exp()
    ratio = 1.0 if mixce is None else mixce
    value = (-(ratio + (1 - ratio) * q) * flat).sum() / len(flat)
    if loss == "rank":
        scores = torch.stack([c.mean() for c in chosen])
        others = [[lp.mean() for lp in plain_logps(model, list(e.sequences[1:]))] for e in window]
        terms = [
            softplus(torch.stack(o).logsumexp(0) - torch.tensor(len(o)).log() - s)
            for s, o in zip(scores, others, strict=True)
        ]
        value = value + weight * torch.stack(terms).mean()
    return value


def plain_gradients(model: PreTrainedModel, window: list[Example], **how) -> dict[str, Tensor]:
    twin = type(model)(copy.deepcopy(model.config)).double()  # a shared config would share the attention, too
    twin.load_state_dict(model.state_dict())
    twin.set_attn_implementation("eager")
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    loss = plain_loss(twin, window, **how)
    params = dict(twin.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, [params[n] for n in names]), strict=True))


def worst_error(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the largest relative error of any gradient, by norm."""
    assert actual.keys() == expected.keys()
    return max(((actual[n].double() - g.double()).norm() / g.double().norm()).item() for n, g in expected.items())
