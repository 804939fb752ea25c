"""Tests of READS: every entry matters, and it selects exactly the settings that the typed form of the kind takes."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from memphis import pipeline
from memphis.config import Config, to_dict
from memphis.config.forms import parse
from memphis.errors import MemphisError
from memphis.losses import KNOBS, LOSSES
from memphis.pipeline import KINDS, READS, cut
from memphis.recipe import recipe
from memphis.runs import REPOSITORY
from memphis.store import Stage, flatten
from tests.composing import compose_config

# Configurations that together make every entry of READS matter: conditions, aliases, external inputs.
CONFIGURATIONS = {
    "default": (),
    "card": ("+exp=memphis_cot",),
    "rationalized": ("method=star", "rank.examples=rationalized"),
    "heldout": (
        *("data=local", "data.path=owner/rows", "eval=heldout", "eval.tasks=[piqa]", "eval.shots=2"),
        f"data.sources.local.heldout={REPOSITORY / 'tests/golden/slerp.json'}",
    ),
    "heldout in a table": (
        *("data=local", "data.path=owner/rows", "eval=heldout"),
        f"data.sources.local.heldout={REPOSITORY / 'tests/golden/rows.csv'}",
    ),
    "means": ("sft.reduction=microbatch_mean", "rank.reduction=microbatch_mean"),
}
IDENTITIES = Path("nowhere/identities.json")  # of no folder: nothing is written
KEYED = [(kind, entry) for kind, entries in READS.items() for entry in entries]


@cache
def composed(name: str) -> Config:
    return compose_config(*CONFIGURATIONS[name])


def chains() -> list[list[Stage]]:
    return [recipe(composed(name), IDENTITIES) for name in CONFIGURATIONS]


@pytest.fixture(scope="module")
def whole() -> list[list[Stage]]:
    return chains()


@pytest.mark.parametrize(("kind", "entry"), KEYED)
def test_without_an_entry_keys_move(
    kind: str, entry: str, whole: list[list[Stage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tuple(item for item in READS[kind] if item != entry)
    monkeypatch.setattr(pipeline, "READS", {**READS, kind: left})
    moved = {
        stage.kind
        for before, after in zip(whole, chains(), strict=True)
        for old, stage in zip(before, after, strict=True)
        if old.key != stage.key
    }
    assert kind in moved


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_stage_has_a_config_of_its_typed_form(name: str) -> None:
    for stage in recipe(composed(name), IDENTITIES):
        form = parse(KINDS[stage.kind].form, stage.config)
        assert type(form) is KINDS[stage.kind].form


def specs() -> dict[str, dict[str, Any]]:
    found = {stage.kind: stage.config for chain in chains() for stage in chain}
    assert found.keys() == KINDS.keys()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_or_missing_knob_of_a_spec_is_an_error_that_names_it(kind: str) -> None:
    """Check a regression: a knob was once looked up by name in a list, and a default replaced a missing one."""
    config = specs()[kind]
    for path in flatten(config):
        *sections, knob = path.split(".")
        if "columns" in sections:  # users choose which roles have names
            continue
        for misspelt in (True, False):
            wrong = copy.deepcopy(config)
            place = wrong
            for section in sections:
                place = place[section]
            value = place.pop(knob)
            if misspelt:
                place[f"{knob}x"] = value
            elif path == "micro_batch_tokens":  # present only where it changes the loss
                continue
            with pytest.raises(MemphisError) as caught:
                parse(KINDS[kind].form, wrong)
            assert knob in str(caught.value)


def test_a_spec_holds_the_knobs_of_its_loss_and_no_others() -> None:
    for loss in LOSSES:
        if not LOSSES[loss]().terms:
            continue
        typed = (f"rank.loss={loss}", f"rank.examples={LOSSES[loss].examples[0]}")
        config = cut("rank", to_dict(compose_config(*typed)))["rank"]
        assert KNOBS[loss] <= config.keys()
        assert not config.keys() & (set().union(*KNOBS.values()) - KNOBS[loss])


def test_losses_that_share_a_knob_share_its_default() -> None:
    """Check that defaults agree: the schema has one default for a key, whatever loss is chosen."""
    for knob in set().union(*KNOBS.values()):
        assert len({getattr(LOSSES[loss](), knob) for loss in LOSSES if knob in KNOBS[loss]}) == 1, knob


def test_a_typed_knob_of_another_loss_is_refused() -> None:
    for loss in LOSSES:
        for knob in set().union(*KNOBS.values()) - KNOBS[loss]:
            with pytest.raises(MemphisError, match=f"rank.{knob}: has no effect with rank.loss={loss}"):
                compose_config(f"rank.loss={loss}", f"rank.examples={LOSSES[loss].examples[0]}", f"rank.{knob}=null")


@pytest.mark.parametrize(("reduction", "tokens"), [("microbatch_mean", None), ("token", 64)])
def test_the_cut_of_a_batch_is_in_a_spec_where_it_counts(reduction: str, tokens: int | None) -> None:
    config = {**cut("sft", to_dict(compose_config(f"sft.reduction={reduction}"))), "micro_batch_tokens": tokens}
    with pytest.raises(MemphisError, match="micro_batch_tokens belongs to reduction=microbatch_mean"):
        parse(KINDS["sft"].form, config)
