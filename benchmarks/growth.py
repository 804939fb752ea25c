"""How the cost of a step grows with rows, length, vocabulary, model, micro-batch and devices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import step_by_step

BASE = {"rows": 64}
# Name -> (what is different from 64 rows, 4 layers, d 256, vocabulary 8,000, one device; options).
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "rows_32": ("32 rows", {"rows": 32}),
    "rows_128": ("128 rows", {"rows": 128}),
    "length_4": ("16 rows, 4 times as long", {"join": 4}),
    "length_16": ("4 rows, 16 times as long", {"join": 16}),
    "vocabulary_32k": ("vocabulary 32,000", {"vocabulary": 32_000}),
    "vocabulary_128k": ("vocabulary 128,000", {"vocabulary": 128_000}),
    "layers_8": ("8 layers", {"layers": 8}),
    "width_512": ("d 512", {"width": 512}),
    "budget_4k": ("micro-batches of 4,096 tokens, not 1,024", {"budget": 4096}),
    "budget_16k": ("micro-batches of 16,384 tokens", {"budget": 16_384}),
    "devices_2": ("2 processes (FSDP2, gloo), a core each", {"devices": 2}),
}


def _measure(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    for found in step_by_step(contenders, work, rounds):
        for numbers in found.values():
            numbers["ms_per_token"] = 1000 * numbers["cpu_s"] / numbers["tokens"]
        yield found


def _contender(name: str, words: str, options: dict[str, Any]) -> Contender:
    return Contender(name, words, "benchmarks.forms:sized", {**BASE, **options})


QUESTION = Question(
    "growth",
    "a step of 64 rows, 4 layers, d 256, vocabulary 8,000, and what another size changes",
    (
        _contender("base", "64 rows, 4 layers, d 256, vocabulary 8,000", {}),
        *(_contender(name, words, options) for name, (words, options) in SIZES.items()),
    ),
    tuple(
        Target(what, (name, measure), ("base", measure), at_most=True)
        for name in SIZES
        for what, measure in (
            [("wall time", "wall_s")]
            if name.startswith("devices")
            else [("CPU time per token", "ms_per_token"), ("peak memory", "rss_mib")]
        )
    ),
    _measure,
)
