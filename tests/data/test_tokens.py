"""Tests of token ids and labels: equal prompts, clean borders, counts of long rows."""

import copy
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memphis.data import prompts
from memphis.data.tiny_tokenizer import train_tokenizer
from memphis.data.tokens import (
    IGNORE,
    Example,
    encode,
    load_tokenizer,
    pair_examples,
    prompt_ids,
    sft_examples,
    text_examples,
)
from memphis.errors import MemphisError

COT = {
    "id": "a",
    "source": "s",
    "kind": "cot",
    "prompt": "What is 7 + 12?",
    "rationale": "7 + 12 = 19.",
    "answer": "19",
}
INSTRUCT = {"id": "b", "source": "s", "kind": "instruct", "prompt": "Say hi.", "response": "Hi!\n\nHow are you?"}
CHAT = {
    "id": "c",
    "source": "s",
    "kind": "chat",
    "messages": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Four."},
    ],
}
PAIR = {
    "id": "q",
    "prompt": COT["prompt"],
    "chosen": "So 19.\n### Answer:\n19",
    "rejected": ["So 20.\n### Answer:\n20", "Hm.\n### Answer:\n1"],
}
KEEP = {"max_length": 1000, "eos": "every_turn", "overlong": "drop"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    # merges across a newline exist, so that a violated border would show
    return train_tokenizer(["### Rationale:\n7 + 12 = 19.\n### Answer:\n19\n"] * 20, 540, tmp_path_factory.mktemp("t"))


def targets(example: Example, tokenizer: PreTrainedTokenizerFast, number: int = 0) -> str:
    return tokenizer.decode([label for label in example.sequences[number].labels if label != IGNORE])


@pytest.mark.parametrize("row", [COT, INSTRUCT, CHAT], ids=lambda row: row["kind"])
@pytest.mark.parametrize("eos", ["every_turn", "final"])
def test_the_tokens_are_the_text_and_the_labels_its_targets(row: dict, eos: str, tokenizer) -> None:
    (example,), _ = sft_examples([row], tokenizer, **{**KEEP, "eos": eos})
    (sequence,) = example.sequences
    texts = [(span.text + tokenizer.eos_token * span.ends, span.target) for span in prompts.spans(row, eos)]
    assert tokenizer.decode(sequence.input_ids) == "".join(text for text, _ in texts)
    assert targets(example, tokenizer) == "".join(text for text, target in texts if target)
    assert all(label in (IGNORE, token) for token, label in zip(sequence.input_ids, sequence.labels, strict=True))
    assert sequence.labels[-1] == tokenizer.eos_token_id
    assert sequence.input_ids.count(tokenizer.eos_token_id) == (2 if row is CHAT and eos == "every_turn" else 1)


def test_the_generation_prompt_is_the_masked_prefix(tokenizer) -> None:
    prompt = prompt_ids([COT["prompt"]], tokenizer)[0]
    (sft,), _ = sft_examples([COT], tokenizer, **KEEP)
    (pair,), _ = pair_examples([PAIR], tokenizer, **KEEP)
    for example in (sft, pair):
        assert example.prompt_length == len(prompt)
        for sequence in example.sequences:
            assert sequence.input_ids[: len(prompt)] == prompt
            assert sequence.labels[: len(prompt)] == [IGNORE] * len(prompt)
            assert IGNORE not in sequence.labels[len(prompt) :]


def test_no_token_crosses_the_border_between_prompt_and_completion(tokenizer) -> None:
    row = {**COT, "rationale": "\n\n 7 + 12 = 19."}  # stripped; one call for all could merge newline and digit
    (example,), _ = sft_examples([row], tokenizer, **KEEP)
    completion = example.sequences[0].input_ids[example.prompt_length :]
    assert tokenizer.decode(completion) == prompts.completion_cot(row["rationale"], row["answer"]) + tokenizer.eos_token


def test_the_end_of_text_is_learned_although_it_pads_too(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    both = load_tokenizer(tmp_path)
    both.pad_token = both.eos_token
    assert both.pad_token_id == both.eos_token_id
    for row in (COT, INSTRUCT, CHAT):
        (example,), counts = sft_examples([row], both, max_length=512, eos="every_turn", overlong="drop")
        assert example.sequences[0].labels.count(both.eos_token_id) == (2 if row is CHAT else 1)
        assert counts == sft_examples([row], tokenizer, max_length=512, eos="every_turn", overlong="drop")[1]


def test_pairs(tokenizer) -> None:
    (example,), counts = pair_examples([PAIR], tokenizer, **KEEP, gold={"q": "Gold.\n### Answer:\n19"})
    texts = [targets(example, tokenizer, number) for number in range(3)]
    assert texts == [text + tokenizer.eos_token for text in (PAIR["chosen"], *PAIR["rejected"])]
    gold = example.gold
    assert gold is not None
    assert gold.input_ids[: example.prompt_length] == prompt_ids([PAIR["prompt"]], tokenizer)[0]
    assert tokenizer.decode(gold.labels[example.prompt_length :]) == "Gold.\n### Answer:\n19" + tokenizer.eos_token
    assert counts["rows"] == counts["kept"] == 1
    assert counts["label_tokens"] == sum(len(s.labels) - example.prompt_length for s in example.sequences)


def test_a_pair_without_rejected_ones_is_a_correct_sample(tokenizer) -> None:
    (example,), _ = pair_examples([{k: v for k, v in PAIR.items() if k != "rejected"}], tokenizer, **KEEP)
    assert [targets(example, tokenizer)] == [PAIR["chosen"] + tokenizer.eos_token]


def test_a_question_without_a_gold_completion_is_an_error(tokenizer) -> None:
    with pytest.raises(MemphisError, match="question q has no completion in the data"):
        pair_examples([PAIR], tokenizer, **KEEP, gold={})


def test_long_rows_are_dropped_or_cut_and_counted(tokenizer) -> None:
    (whole,), _ = sft_examples([COT], tokenizer, **KEEP)
    length = len(whole.sequences[0].input_ids)
    rows = [COT, {**COT, "id": "long", "rationale": COT["rationale"] * 20}]
    kept, counts = sft_examples(rows, tokenizer, max_length=length, eos="final", overlong="drop")
    assert [example.id for example in kept] == ["a"]
    assert (counts["rows"], counts["kept"], counts["dropped_overlong"], counts["truncated"]) == (2, 1, 1, 0)
    assert counts["tokens"] == length
    cut, counts = sft_examples(rows, tokenizer, max_length=length, eos="final", overlong="truncate")
    assert [len(example.sequences[0].input_ids) for example in cut] == [length, length]
    assert (counts["kept"], counts["dropped_overlong"], counts["truncated"]) == (2, 0, 1)


SPELT = " ".join(("<|endoftext|>", "<|im_end|>", "<s>", "</s>", "[INST]", "<pad>"))


def unigram(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer, in whose vocabulary special tokens are the most probable words."""
    special = ["<unk>", "<s>", "</s>", "<pad>", "<|im_end|>", "[INST]", "<|endoftext|>"]
    letters = [*map(chr, range(33, 127)), "\n", "▁"]
    words = [(word, 0.0) for word in special] + [(word, -5.0) for word in letters]
    learnt = Tokenizer(models.Unigram(words, unk_id=0))
    learnt.pre_tokenizer, learnt.decoder = (
        pre_tokenizers.Metaspace(prepend_scheme="never"),
        decoders.Metaspace(prepend_scheme="never"),
    )
    more = {"bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    added = {"additional_special_tokens": special[4:]}
    return PreTrainedTokenizerFast(tokenizer_object=learnt, eos_token="</s>", **more, **added)


def byte_level(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    found = copy.deepcopy(tokenizer)
    found.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<s>", "[INST]"]})
    return found


@pytest.mark.parametrize("make", [byte_level, unigram])
def test_special_tokens_spelt_in_data_are_text_wherever_a_text_is_tokenised(make, tokenizer, tmp_path: Path) -> None:
    make(tokenizer).save_pretrained(tmp_path)
    vocabulary = load_tokenizer(tmp_path)
    special = {i for i, token in vocabulary.added_tokens_decoder.items() if token.special}
    assert special & set(vocabulary(SPELT)["input_ids"])  # as the tokenizer itself would have it
    rows = [{**row, "id": row["kind"]} for row in (COT, INSTRUCT, CHAT)]
    rows[0] |= {"prompt": f"Why {SPELT}?", "rationale": f"So {SPELT}", "answer": SPELT}
    rows[1] |= {"prompt": SPELT, "response": SPELT}
    rows[2]["messages"] = [{**turn, "content": f"{SPELT}."} for turn in CHAT["messages"]]
    examples, counts = sft_examples(rows, vocabulary, **KEEP)
    assert counts["kept"] == 3
    text = prompts.completion_cot(f"So {SPELT}", SPELT)
    pair = {"id": "q", "prompt": f"Why {SPELT}?", "chosen": text, "rejected": [SPELT]}
    (compared,), _ = pair_examples([pair], vocabulary, **KEEP, gold={"q": f"Gold {SPELT}"})
    (asked,) = prompt_ids([f"Why {SPELT}?"], vocabulary)
    assert not special & set(asked)
    sequences = [*(example.sequences[0] for example in examples), *compared.sequences, compared.gold]
    for sequence in sequences:
        ends = 2 if sequence is examples[2].sequences[0] else 1
        assert [i for i in sequence.input_ids if i in special] == [vocabulary.eos_token_id] * ends
        assert sequence.input_ids[-1] == sequence.labels[-1] == vocabulary.eos_token_id
    for sequence in (examples[0].sequences[0], *compared.sequences, compared.gold):
        assert sequence.input_ids[: len(asked)] == asked
    assert examples[0].sequences[0] == compared.sequences[0]
    decoded = vocabulary.decode(sequences[0].input_ids)
    assert decoded == f"{prompts.render_cot(f'Why {SPELT}?')}{text}{vocabulary.eos_token}"
    (plain,) = text_examples([SPELT], vocabulary, max_length=200)
    assert not special & set(plain.sequences[0].input_ids[:-1])


def test_a_tokenizer_that_is_not_asked_to_split(tokenizer) -> None:
    class MistralCommonBackend:
        """The class of transformers around mistral-common, as far as it matters here."""

        def __call__(self, texts: list[str], **settings: bool) -> dict[str, list[list[int]]]:
            if settings.pop("split_special_tokens", False):
                raise ValueError("`MistralCommonBackend` does not support `split_special_tokens`.")
            return {"input_ids": tokenizer(texts, split_special_tokens=True, **settings)["input_ids"]}

    assert encode([SPELT], MistralCommonBackend()) == encode([SPELT], tokenizer)


def test_tokens_of_text_without_special_ones_are_the_tokenizers_own(tokenizer) -> None:
    texts = ["7 + 12 = 19.", "a < b |> c", " x\n\ny "]
    assert prompt_ids(texts, tokenizer) == tokenizer([prompts.render_cot(text) for text in texts])["input_ids"]


@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_no_sequence_is_trained_up_and_down(overlong: str, tokenizer) -> None:
    """Check pairs that are equal from the start, and those that become so when they are cut."""
    same = {**PAIR, "rejected": [PAIR["chosen"]]}
    part = {**PAIR, "id": "part", "rejected": [PAIR["chosen"], PAIR["rejected"][0]]}  # as a group, or by products
    examples, counts = pair_examples([same, part, PAIR], tokenizer, **{**KEEP, "overlong": overlong})
    assert (counts["rows"], counts["kept"], counts["dropped_equal"]) == (3, 2, 1)
    assert [len(example.sequences) for example in examples] == [2, 3]
    assert targets(examples[0], tokenizer, 1) == PAIR["rejected"][0] + tokenizer.eos_token
    assert counts["tokens"] == sum(len(s.input_ids) for example in examples for s in example.sequences)


def test_a_cut_makes_no_pair_of_equal_texts(tokenizer) -> None:
    prompt, start = len(prompt_ids([PAIR["prompt"]], tokenizer)[0]), "7 + 12 " * 5
    pair = {**PAIR, "chosen": f"{start}= 19", "rejected": [f"{start}= 20", "Hm. 1"]}
    cut = {"max_length": prompt + 8, "eos": "every_turn", "overlong": "truncate"}
    (example,), counts = pair_examples([pair], tokenizer, **cut)
    assert targets(example, tokenizer, 1) == "Hm. 1" + tokenizer.eos_token
    assert (len(example.sequences), counts["dropped_equal"], counts["truncated"]) == (2, 0, 1)
    examples, counts = pair_examples([{**pair, "rejected": [f"{start}= 20"]}], tokenizer, **cut)
    assert (examples, counts["dropped_equal"], counts["kept"]) == ([], 1, 0)
    gold = {"q": f"{start}= 19."}  # the cross-entropy is taken on it: a rejected one may not equal it either
    examples, counts = pair_examples(
        [{**pair, "chosen": "19", "rejected": [f"{start}= 20"]}], tokenizer, **cut, gold=gold
    )
    assert (examples, counts["dropped_equal"]) == ([], 1)
    alone = {key: value for key, value in pair.items() if key != "rejected"}
    assert pair_examples([alone], tokenizer, **cut)[1]["kept"] == 1


def test_a_row_whose_targets_are_cut_off_is_dropped(tokenizer) -> None:
    length = len(prompt_ids([COT["prompt"]], tokenizer)[0])
    examples, counts = sft_examples([COT], tokenizer, max_length=length, eos="final", overlong="truncate")
    assert examples == []
    assert (counts["truncated"], counts["dropped_no_target"], counts["kept"]) == (1, 1, 0)
    examples, counts = pair_examples([PAIR], tokenizer, max_length=length, eos="final", overlong="truncate")
    assert (examples, counts["dropped_no_target"]) == ([], 1)


@pytest.mark.parametrize(
    ("long", "kept"), [("chosen", None), ("gold", None), ("rejected 0", 1), ("both rejected", None), ("nothing", 2)]
)
def test_long_pairs(long: str, kept: int | None, tokenizer) -> None:
    tail = " 7 + 12" * 50
    pair = {
        **PAIR,
        "chosen": PAIR["chosen"] + (tail if long == "chosen" else ""),
        "rejected": [
            r + (tail if long in (f"rejected {i}", "both rejected") else "") for i, r in enumerate(PAIR["rejected"])
        ],
    }
    gold = {"q": "Gold." + (tail if long == "gold" else "")}
    examples, counts = pair_examples([pair], tokenizer, max_length=100, eos="final", overlong="drop", gold=gold)
    assert [len(example.sequences) - 1 for example in examples] == ([] if kept is None else [kept])
    assert counts["dropped_overlong"] == (kept is None)
    examples, counts = pair_examples([pair], tokenizer, max_length=100, eos="final", overlong="truncate", gold=gold)
    assert len(examples[0].sequences) == 3
    assert counts["truncated"] == (long != "nothing")
    assert max(len(s.input_ids) for s in (*examples[0].sequences, examples[0].gold)) <= 100


def test_plain_text(tokenizer) -> None:
    first, second = text_examples(["7 + 12 = 19.", "", "7 + 12 = 19. " * 50], tokenizer, max_length=40)
    (sequence,) = first.sequences
    assert tokenizer.decode(sequence.input_ids) == "7 + 12 = 19." + tokenizer.eos_token
    assert sequence.labels == [IGNORE, *sequence.input_ids[1:]]
    assert len(second.sequences[0].input_ids) == 40
    assert tokenizer.eos_token_id not in second.sequences[0].input_ids


def test_loading_a_tokenizer(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "good")
    assert prompt_ids(["Why?"], load_tokenizer(tmp_path / "good")) == prompt_ids(["Why?"], tokenizer)
    tokenizer.save_pretrained(tmp_path / "bad")
    path = tmp_path / "bad" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    with pytest.raises(MemphisError, match="no EOS token"):
        load_tokenizer(tmp_path / "bad")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MemphisError, match="no tokenizer could be loaded"):
        load_tokenizer(tmp_path / "empty")
