"""Dimensions of a decoder and what follows from them: numbers of weights and operations. Plain arithmetic."""

from typing import Any

from pydantic.dataclasses import dataclass

from memphis.ranges import RULES, Positive

_NOT_GATED = ("gpt_neox", "gpt2", "gptj", "phi", "mpt", "opt", "bloom", "falcon")  # two matrices in the MLP, not three


@dataclass(config=RULES, frozen=True, kw_only=True)
class Shape:
    """Dimensions of a decoder. Biases and norms, a thousandth of the weights, are left out."""

    hidden: Positive
    layers: Positive
    heads: Positive
    intermediate: Positive
    vocab_size: Positive
    kv_heads: Positive
    gated: bool = True  # MLP with three matrices
    tied: bool = False  # one matrix for input embedding and head

    @property
    def layer(self) -> int:
        """Number of weights of one layer."""
        attention = 2 * self.hidden**2 * (1 + self.kv_heads / self.heads)
        return int(attention) + (3 if self.gated else 2) * self.hidden * self.intermediate

    @property
    def head(self) -> int:
        return self.vocab_size * self.hidden

    @property
    def weights(self) -> int:
        return self.layers * self.layer + (1 if self.tied else 2) * self.head

    def trainable(self, freeze_embeddings: str) -> int:
        """Return the number of weights that are trained with `model.freeze_embeddings`."""
        ends = {"both": 0, "input": 0 if self.tied else 1, "none": 1 if self.tied else 2}[freeze_embeddings]
        return self.layers * self.layer + ends * self.head

    def model_flops(self, length: float) -> float:
        """Return the operations per token, forward and backward, as MFU counts them: six for every weight but those of
        the input embedding, and attention over all of the sequence's `length` tokens."""
        return 6 * (self.layers * self.layer + self.head) + 12 * self.layers * self.hidden * length

    def training_flops(self, freeze_embeddings: str, *, length: float, targets: float, recomputed: int = 0) -> float:
        """Return operations per token, forward and backward. length: tokens of its sequence; targets: share trained on.

        A frozen head needs two products at target positions (logits, their gradient times the weight), a trained one
        four. recomputed: number of layers whose forward pass is repeated.
        """
        layers = 6 * self.layers * self.layer + 6 * self.layers * self.hidden * length
        products = 2 if freeze_embeddings == "both" or (self.tied and freeze_embeddings == "input") else 4
        return layers * (1 + recomputed / self.layers / 3) + products * 2 * self.head * targets


def from_config(plain: dict[str, Any]) -> Shape | None:
    """Return the shape that a checkpoint's config.json describes; None if it uses other names than most do."""
    try:
        hidden, heads = plain["hidden_size"], plain["num_attention_heads"]
        return Shape(
            hidden=hidden,
            layers=plain["num_hidden_layers"],
            heads=heads,
            intermediate=plain["intermediate_size"],
            vocab_size=plain["vocab_size"],
            kv_heads=plain.get("num_key_value_heads") or heads,
            gated=plain.get("model_type") not in _NOT_GATED,
            tied=bool(plain.get("tie_word_embeddings", False)),
        )
    except (KeyError, ValueError):
        return None
