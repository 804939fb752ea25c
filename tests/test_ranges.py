"""Tests that values which can only fail, hang or do nothing are refused when the config is read, for every key.

The keys are those of the schema that the sections describe: a new one is tested without being named here.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from memphis import config
from memphis.answers import equal
from memphis.config import sections
from memphis.errors import MemphisError
from memphis.losses import KNOBS, LOSSES
from memphis.store import flatten
from tests.composing import compose_config

SCHEMA = TypeAdapter(config.Config).json_schema(by_alias=True)
FREE = ("licence", "note")  # text that nothing but a reader takes notice of
ROLES = ("prompt", "answer")


@dataclass(frozen=True)
class Key:
    """A key of the config, what the schema says of its values, and the loss that it belongs to."""

    path: str
    schema: dict[str, Any]
    loss: str | None = None

    def __str__(self) -> str:
        return f"{self.path}-{self.loss}" if self.loss else self.path


def keys(schema: dict[str, Any], path: str = "", loss: str | None = None) -> Iterator[Key]:
    """Yield the keys below a schema; of a union all branches, but null."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for branch in schema.get("anyOf", ()):
        if branch.get("type") != "null":
            yield from keys(branch, path, loss)
    for branch in schema.get("oneOf", ()):
        if "$ref" not in branch:
            yield from keys(branch, path, loss)
            continue
        name = SCHEMA["$defs"][branch["$ref"].rpartition("/")[2]]
        if path.endswith(".objective"):
            yield from keys(branch, path.removesuffix(".objective"), name["properties"]["loss"]["const"])
        else:
            yield from keys(branch, path.replace("*", "tiny" if "train" in name["properties"] else "rows"), loss)
    for name, value in schema.get("properties", {}).items():
        yield from keys(value, f"{path}.{name}".lstrip("."), loss)
    if isinstance(schema.get("additionalProperties"), dict):
        below = ROLES if "propertyNames" in schema else ("*",)
        for name in below:
            yield from keys(schema["additionalProperties"], f"{path}.{name}", loss)
    if schema.get("type") in ("integer", "number", "string", "array", "boolean") or "enum" in schema:
        yield Key(path, schema, loss)
    if schema.get("type") == "array":
        for place, item in enumerate(schema.get("prefixItems", [])):
            yield from keys(item, f"{path}.{place}", loss)
        if isinstance(schema.get("items"), dict):
            yield from keys(schema["items"], f"{path}.0", loss)


ALL = list(keys(SCHEMA))
NUMBERS = [key for key in ALL if key.schema.get("type") in ("integer", "number")]
TEXTS = [key for key in ALL if key.schema.get("type") == "string" and not {"enum", "const"} & key.schema.keys()]
CHOICES = [key for key in ALL if {"enum", "const"} & key.schema.keys()]
LISTS = [key for key in ALL if key.schema.get("type") == "array" and ".0" not in key.path]
PATTERNS = [key for key in ALL if key.schema.get("format") == "regex"]


@cache
def whole() -> dict[str, Any]:
    """Return a config in which every key is present."""
    plain = config.to_dict(compose_config("eval.tasks=[piqa]", "eval.suites=[card]", "tracking.tags=[a]"))
    plain["model"] |= {
        "shape": dict.fromkeys(("hidden", "layers", "heads", "intermediate", "vocab_size", "kv_heads"), 8)
    }
    rows = {"kind": "instruct", "path": "a/b", "human": "true", "columns": {role: ["x"] for role in ROLES}}
    rows["origins"] = ["a"]
    plain["data"]["sources"]["rows"] = rows
    plain["pairs"]["answer"]["types"] = [["a", "number"]]
    return plain


def refused(key: Key, value: Any) -> str:
    """Return the message by which a config with this value is refused."""
    plain = copy.deepcopy(whole())
    if key.loss:
        knobs = {name: getattr(LOSSES[key.loss](), name) for name in KNOBS[key.loss]}
        foreign = set().union(*KNOBS.values())
        plain["rank"] = {name: old for name, old in plain["rank"].items() if name not in foreign}
        plain["rank"] |= {"loss": key.loss, "examples": LOSSES[key.loss].examples[0], **knobs}
    place: Any = plain
    *sections_, last = key.path.split(".")
    for part in sections_:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[int(part)]
    place[last if isinstance(place, dict) else int(last)] = value
    with pytest.raises(MemphisError) as caught:
        config.from_dict(plain)
    return str(caught.value)


def names(key: Key, message: str) -> bool:
    return message.startswith(f"{key.path}=") or f"\n  {key.path}=" in message


def test_a_config_with_every_key_is_accepted_and_every_key_is_walked() -> None:
    assert config.from_dict(whole())
    walked = {key.path for key in ALL}
    missing = {key for key in flatten(whole()) if key not in walked and not key.endswith(".loss")}
    assert not missing


@pytest.mark.parametrize("key", NUMBERS, ids=str)
def test_a_number_out_of_range_is_refused(key: Key) -> None:
    if key.path.endswith(".heldout"):  # a share, or text
        for value in (0, 1, -0.5, 1.5):
            assert "a share between 0 and 1" in refused(key, value)
        return
    low = key.schema.get("minimum", key.schema.get("exclusiveMinimum"))
    high = key.schema.get("maximum", key.schema.get("exclusiveMaximum"))
    assert low is not None, "has no least value"
    assert high is not None, "has no largest value"
    step = 1 if key.schema["type"] == "integer" else max(1e-6, abs(high) * 1e-9)
    below = low if "exclusiveMinimum" in key.schema else low - step
    above = high if "exclusiveMaximum" in key.schema else high + step
    for value in (below, above, -(10**30), 10**30):
        assert names(key, refused(key, value)), value
    if key.schema["type"] == "number":
        for value in (float("nan"), float("inf"), float("-inf")):
            assert names(key, refused(key, value)), value


@pytest.mark.parametrize("key", TEXTS, ids=str)
def test_empty_text_is_refused(key: Key) -> None:
    if key.path.endswith(FREE):
        return
    assert names(key, refused(key, ""))


@pytest.mark.parametrize("key", CHOICES, ids=str)
def test_another_choice_is_refused(key: Key) -> None:
    assert key.path in refused(key, "banana")


@pytest.mark.parametrize("key", LISTS, ids=str)
def test_an_entry_twice_is_refused(key: Key) -> None:
    place: Any = whole()
    for part in key.path.split("."):
        place = place[part]
    message = refused(key, [*place, *place])
    assert names(key, message)
    assert "twice" in message


@pytest.mark.parametrize("key", PATTERNS, ids=str)
@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<a>x)(?P<a>y)", "a{99999999999999999999}", "(?<=a+)b"])
def test_what_is_no_regular_expression_is_refused(key: Key, pattern: str) -> None:
    assert len(PATTERNS) == 3
    message = refused(key, pattern)
    assert names(key, message)
    assert "not a regular expression (" in message


def test_types_of_answers_are_those_that_are_judged() -> None:
    assert get_args(sections.AnswerType) == equal.KINDS


@pytest.mark.parametrize("length", [65, 300])
def test_a_name_that_is_too_long_is_refused(length: int) -> None:
    assert "name='xx" in refused(Key("name", {}), "x" * length)
