"""Turn rows into token ids and labels. Text is tokenised segment by segment without special tokens and concatenated, so
that no token crosses the border between prompt and completion: generation sees exactly what training masks.

All text of a run goes through `encode`, which makes no special token: one that is spelt in a row is ordinary text.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from memphis.data import prompts
from memphis.errors import MemphisError

IGNORE = -100  # label of a token without loss
Overlong = Literal["drop", "truncate"]
COUNTS = (
    *("rows", "kept", "dropped_overlong", "truncated", "dropped_no_target", "dropped_equal"),
    *("tokens", "label_tokens"),  # of the examples that were kept
)


@dataclass(frozen=True)
class Sequence:
    """Token ids and labels: labels[i] is input_ids[i] where the token is trained and IGNORE elsewhere, not shifted."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Example:
    """Training example made from one row or pair."""

    id: str
    sequences: tuple[Sequence, ...]  # one for supervised training; chosen first, then the rejected ones, for pairs
    prompt_length: int  # leading tokens that are equal in all sequences (and gold) and have no loss
    gold: Sequence | None = None  # with rank.ce_target=gold: the data's own completion of the same prompt


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint directory.

    Raises MemphisError if it has no end-of-text token: every completion must end with one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MemphisError(
            f"model.path={path}: no tokenizer could be loaded ({reason}); "
            "give a hub id or a directory with tokenizer.json"
        ) from error
    if tokenizer.eos_token_id is None:
        raise MemphisError(f"model.path={path}: the tokenizer has no EOS token; set eos_token in tokenizer_config.json")
    _keep_special_tokens_apart(tokenizer)
    return tokenizer


def _keep_special_tokens_apart(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make special tokens of a Unigram model so improbable that no text is split into them.

    They stand in its vocabulary as its most probable words, which split_special_tokens does not change.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.model, models.Unigram):
        return
    plain = json.loads(backend.to_str())
    special = {token["content"] for token in plain["added_tokens"] if token["special"]}
    unknown = plain["model"]["unk_id"]
    for index, (word, _) in enumerate(plain["model"]["vocab"]):
        if word in special and index != unknown:
            plain["model"]["vocab"][index][1] = -1e6
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(plain))  # there is no public way to set a score


def encode(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the token ids of every text on its own; one bulk call, each distinct text once.

    No special token is among them: none is added, and one that is spelt in a text (`<|im_end|>`, `</s>`, `[INST]`) is
    split like any other word. Added tokens that the tokenizer does not call special are part of its vocabulary.
    """
    texts = list(texts)
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return []
    # mistral-common makes no special token from text in any case, and its class refuses to be asked.
    split = {} if type(tokenizer).__name__ == "MistralCommonBackend" else {"split_special_tokens": True}
    ids = tokenizer(distinct, add_special_tokens=False, return_attention_mask=False, **split)["input_ids"]
    by_text = dict(zip(distinct, ids, strict=True))
    return [by_text[text] for text in texts]


def prompt_ids(questions: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the generation prompts of questions: token by token the masked prefixes of their training sequences."""
    return encode(map(prompts.render_cot, questions), tokenizer)


def sft_examples(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    eos: prompts.Eos,
    overlong: Overlong,
) -> tuple[list[Example], dict[str, int]]:
    """Build examples with one sequence each from rows of any kind ("cot", "instruct", "chat"), and counts (COUNTS).

    max_length: tokens; longer rows are dropped, or cut at the end with overlong="truncate". A row without any target
    left is dropped too.
    """
    rows = list(rows)
    spans = [prompts.spans(row, eos) for row in rows]
    ids = iter(encode((span.text for row_spans in spans for span in row_spans), tokenizer))
    examples = []
    for row, row_spans in zip(rows, spans, strict=True):
        tokens: list[int] = []
        labels: list[int] = []
        for span in row_spans:
            part = next(ids) + [tokenizer.eos_token_id] * span.ends
            tokens += part
            labels += part if span.target else [IGNORE] * len(part)
        prefix = next((i for i, label in enumerate(labels) if label != IGNORE), len(labels))
        examples.append(Example(str(row["id"]), (Sequence(tokens, labels),), prefix))
    return _fit(examples, max_length, overlong)


def pair_examples(
    pairs: Iterable[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    eos: prompts.Eos,
    overlong: Overlong,
    gold: Mapping[str, str] | None = None,
) -> tuple[list[Example], dict[str, int]]:
    """Build examples with the chosen sequence first, then the rejected ones, from lines of pairs.jsonl. A line without
    "rejected" gives an example with one sequence (methods that train on correct samples only).

    gold: question id -> completion text (without EOS) of the data's answer; every example then carries it as `gold`.
    A rejected sequence longer than max_length is left out; the pair is dropped if no rejected one, or not the chosen
    or gold one, fits. With overlong="truncate" sequences are cut instead. A rejected sequence that equals the chosen or
    gold one, by its cut or from the start, would be trained up and down: it is left out, and the pair is dropped if no
    other is left. Tokens of `gold` are not counted.
    eos: a completion is one turn, so both values append one EOS to it.
    Raises MemphisError if `gold` lacks a question.
    """
    pairs = list(pairs)
    texts: list[str] = []
    for pair in pairs:
        completions = [pair["chosen"], *pair.get("rejected", ())]
        if gold is not None:
            if pair["id"] not in gold:
                raise MemphisError(
                    f"rank.ce_target=gold: question {pair['id']} has no completion in the data; "
                    "use rank.ce_target=chosen"
                )
            completions.append(gold[pair["id"]])
        texts += [prompts.render_cot(pair["prompt"]), *completions]
    ids = iter(encode(texts, tokenizer))
    examples = []
    for pair in pairs:
        prompt = next(ids)
        parts = islice(ids, 1 + len(pair.get("rejected", ())) + (gold is not None))
        ended = [[*part, tokenizer.eos_token_id] for part in parts]
        sequences = [Sequence(prompt + part, [IGNORE] * len(prompt) + part) for part in ended]
        human = sequences.pop() if gold is not None else None
        examples.append(Example(str(pair["id"]), tuple(sequences), len(prompt), human))
    return _fit(examples, max_length, overlong)


def text_examples(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> list[Example]:
    """Build pre-training examples: EOS appended, cut at max_length tokens, every token after the first is a target."""
    sequences = [[*ids, tokenizer.eos_token_id][:max_length] for ids in encode(texts, tokenizer)]
    return [Example(str(i), (Sequence(ids, [IGNORE, *ids[1:]]),), 1) for i, ids in enumerate(sequences) if len(ids) > 1]


def _fit(examples: Iterable[Example], max_length: int, overlong: Overlong) -> tuple[list[Example], dict[str, int]]:
    """Apply the length rule; return what is kept, and the counts of all outcomes."""

    def is_long(sequence: Sequence) -> bool:
        return len(sequence.input_ids) > max_length

    def cut(sequence: Sequence) -> Sequence:
        return Sequence(sequence.input_ids[:max_length], sequence.labels[:max_length])

    kept = []
    counts = Counter(dict.fromkeys(COUNTS, 0))
    for example in examples:
        counts["rows"] += 1
        first, *rejected = example.sequences
        gold, length = [example.gold] if example.gold else [], example.prompt_length
        if overlong == "truncate" and any(map(is_long, (first, *rejected, *gold))):
            counts["truncated"] += 1
            first, length = cut(first), min(length, max_length)
            rejected, gold = list(map(cut, rejected)), list(map(cut, gold))
        fitting = [sequence for sequence in rejected if not is_long(sequence)]
        different = [sequence for sequence in fitting if sequence not in (first, *gold)]
        if any(map(is_long, (first, *gold))) or (rejected and not fitting):
            counts["dropped_overlong"] += 1
        elif not all(map(_label_tokens, (first, *fitting, *gold))):
            counts["dropped_no_target"] += 1
        elif fitting and not different:
            counts["dropped_equal"] += 1
        else:
            kept.append(Example(example.id, (first, *different), length, *gold))
            counts["kept"] += 1
            counts["tokens"] += sum(len(sequence.input_ids) for sequence in (first, *different))
            counts["label_tokens"] += sum(map(_label_tokens, (first, *different)))
    return kept, dict(counts)


def _label_tokens(sequence: Sequence) -> int:
    return len(sequence.labels) - sequence.labels.count(IGNORE)
