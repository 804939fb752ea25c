"""Verdict of the probe on a model, and the layout of rows that follows from it. Needs no torch."""

from dataclasses import dataclass

from memphis.errors import MemphisError
from memphis.training.train_plan import Packing


@dataclass(frozen=True)
class Verdict:
    """Layouts of rows that equal the model's own forward pass.

    auto: for model.packing=auto; padded: for model.packing=padded; None = there is none.
    error: of `auto`, the largest of any token, in nats. reason: why it is not "packed".
    boundary: tokens of a row up to which this holds, None = always. beyond: that for longer rows.
    layers: those that were compared.
    """

    auto: Packing | None
    padded: Packing | None
    error: float | None
    reason: str
    boundary: int | None = None
    beyond: "Verdict | None" = None
    layers: str = "all"

    def __str__(self) -> str:
        if self.auto is None:
            return f"cannot be trained: {self.reason}"
        text = f"trained with {self.auto} rows, off the model's own by at most {self.error:.1e} nats a token"
        text += f" ({self.reason})" * bool(self.reason) + f", layers compared: {self.layers}" * (self.layers != "all")
        return text if self.beyond is None else f"{text}; rows of more than {self.boundary} tokens: {self.beyond}"


def choose(verdict: Verdict, packing: str, longest: int) -> Packing:
    """Return the layout for `model.packing` and rows of up to `longest` tokens; MemphisError if there is none."""
    if verdict.beyond and verdict.boundary is not None and longest > verdict.boundary:
        verdict = verdict.beyond
    found = verdict.padded if packing == "padded" else verdict.auto
    if found is None or (packing == "packed" and found != "packed"):
        other = "; use auto" if verdict.auto else ""
        raise MemphisError(f"model.packing={packing}: this model cannot be trained so: {verdict.reason}{other}")
    return found
