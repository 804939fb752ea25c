"""Words of a command line: refused, each in one line that says what to type, where Hydra would stop or misread them.

Only commands import this module: stages need no Hydra.
"""

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from memphis.config import fits, keys
from memphis.config.faults import joined, unknown
from memphis.config.keys import groups, is_key, nearest, options, quoted
from memphis.dotted import flatten
from memphis.errors import MemphisError
from memphis.formatting import printable
from memphis.privacy import masked

_ONE_FILE = "one file at a time; `python -m experiments.grid` takes several"


def check(words: Sequence[str], *, several: bool, grid: bool = False, ours: bool = True) -> list[str]:
    """Check the overrides of a command before Hydra sees them. Returns notes on axes of a sweep, for people.

    several: -m was typed. grid: for experiments.grid, where `+sweep=a,b` takes one file after the other. ours: the
    groups are those of conf/.
    Raises MemphisError with all faults, one line each.
    """
    faults: list[str] = []
    parsed: list[Override] = []
    for place, word in enumerate(words):
        fault = _unknown(word, words[place - 1] if place else "") if ours else None
        if not word.isascii() and re.search("[\ud800-\udfff]", word):  # bytes, which neither JSON nor Hydra holds
            fault = f"{_shown(word)}: not UTF-8; rename the file, or make a link to it"
        if fault is None:
            try:
                parsed += OverridesParser.create().parse_overrides([word])
            except OverrideParseException as error:
                fault = _unread(word, error)
            else:
                fault = _misplaced(parsed[-1], words) if ours else None
        faults += [fault] if fault else []
        if fault and words[place + 1 : place + 2] == ["="]:  # `slerp.t = 0.5` is one fault
            break
    several = several or any(item.key_or_group == "hydra.mode" and "MULTIRUN" in str(item.value()) for item in parsed)
    sweeps = [item for item in parsed if item.key_or_group == "sweep"]
    if not faults and not several:
        faults = [text for item in parsed if (text := _several(item, words))][:1]
    if not faults and not grid:
        faults = [f"{_shown(item.input_line)}: {_ONE_FILE}" for item in sweeps if item.is_sweep_override()]
    if faults:
        raise MemphisError(joined(list(dict.fromkeys(faults))))
    return _notes(parsed, sweeps) if several else []


def stray(word: str, argv: Sequence[str]) -> str:
    """Explain a word of `argv` that is neither an override nor a flag of Hydra's."""
    if not word.startswith("-"):  # argparse takes overrides in one piece
        flags = [item for item in argv if item.startswith("-")]
        typed = shlex.join(map(str, masked([*flags, *(item for item in argv if item not in flags)])))
        return f"{_shown(word)}: flags stand before all else; type: python train.py {typed}"
    if is_key(_name(word.lstrip("-"))) or _name(word.lstrip("-")) in groups():
        plain = _shown(word.lstrip("-"))
        return f"{_shown(word)}: keys have no dashes; type {plain}{'' if '=' in word else '=…'}"
    return f"{_shown(word)}: no such flag; keys are typed as key=value, `python train.py --help` lists them"


def explained(error: Exception) -> str:
    """Return an error of Hydra's as one line, without its advice to add keys with `+`."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _no_option(group, option, list(error.options or ()))
    text = str(error).partition("\n")[0]
    if found := re.search(r"^Could not override '(.*?)'", text):
        return f"{found[1]}: there is no such key in the files that were chosen; `python train.py --cfg job` lists all"
    if found := re.search(r"already at '(.*?)'", text):
        return f"+{found[1]}: the key is there already; type {found[1]}=…, without +"
    cause = str(error.__cause__ or "").partition("\n")[0]
    return f"{text}: {cause}" if cause and cause not in text else text


def _shown(word: Any) -> str:
    return printable(str(masked(str(word))), one_line=True) or "''"


def _name(word: str) -> str:
    """Return the key or group of a word."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _unknown(word: str, before: str) -> str | None:
    """Explain a word with a key that does not exist, or with none. before: the word that stands before it."""
    name = _name(word)
    if "=" not in word and "=" in before and not nearest(name) and fits(_name(before), word):
        whole = quoted(f"{before} {word}")
        return f"{_shown(word)}: neither key nor value; if it belongs to {_shown(before)}, type {whole}"
    if name.startswith(("hydra.", "hydra/")) or name in groups() or is_key(name):
        return None
    return unknown(_shown(word), name)


def _unread(word: str, error: OverrideParseException) -> str:
    """Explain a word that Hydra's grammar does not take: with quotes, if the key is one for text."""
    _, equals, text = word.partition("=")
    name = _name(word)
    if not equals:
        return f"{_shown(word)}: a value is missing; type {_shown(word)}=…, without spaces around ="
    if text and fits(name, text):
        return f"{_shown(word)}: this value needs quotes; type {quoted(word)}"
    lines = [line for line in str(error.message).splitlines() if line.strip(" ^")]
    wrong = [line for line in lines if not line.startswith(("Error parsing", "LexerNoViable", "See http"))]
    reason = wrong[0].partition(" expecting {")[0] if wrong else "a character that Hydra does not read"
    return f"{reason}, in {_shown(word)}"


def _misplaced(item: Override, words: Sequence[str]) -> str | None:
    """Explain a group's word that Hydra would refuse: no such file, a `+` too many or too few, typed twice."""
    name, word = item.key_or_group, str(item.input_line)
    if name not in groups() or item.package is not None or item.is_delete() or isinstance(item.value(), dict):
        return None
    option = item.value()
    if not item.is_sweep_override() and isinstance(option, str) and option not in options(name):
        return _no_option(name, option, options(name))
    if not item.is_sweep_override() and not isinstance(option, str | list):
        return f"{_shown(word)}: the name of a file of conf/{name} is needed; there are {', '.join(options(name))}"
    if groups()[name] and item.is_add():
        return f"{_shown(word)}: type {_shown(word.lstrip('+'))}, without +"
    if not groups()[name]:
        if not item.is_add():
            return f"{_shown(word)}: files of conf/{name} are chosen with a plus; type +{_shown(word)}"
        same = [other for other in words if _name(other) == name]
        if len(same) > 1:
            return f"{_shown(' '.join(same))}: {_ONE_FILE if name == 'sweep' else f'one file of conf/{name} at a time'}"
    return None


def _no_option(group: str, option: str, there: Sequence[str]) -> str:
    word = f"{group}={option}"
    if group in groups() and not groups()[group]:
        word = f"+{word}"
    near = get_close_matches(option, there, n=1)
    advice = f"did you mean {word.partition('=')[0]}={near[0]}? " if near else ""
    return f"{_shown(word)}: no such file in conf/{group}; {advice}there are {', '.join(there)}"


def _several(item: Override, words: Sequence[str]) -> str | None:
    """Explain a word that is several runs, where -m was not typed."""
    if not (item.is_sweep_override() or item.key_or_group == "sweep"):
        return None
    key, _, text = str(item.input_line).partition("=")
    typed = shlex.join(map(str, masked(list(words))))
    cures = [f"this is several runs, for which -m is needed; type: python train.py -m {typed}"]
    if item.key_or_group not in groups():
        as_list = f"{key}=[{text}]"
        with_list = OverridesParser.create().parse_overrides([as_list])[0] if item.is_choice_sweep() else None
        if with_list is not None and fits(item.key_or_group, with_list.value()):
            cures.append(f"for one list type {shlex.quote(as_list)}")
        elif fits(item.key_or_group, text):
            cures.append(f"for one text type {quoted(f'{key}={text}')}")
    return f"{_shown(item.input_line)}: {'; '.join(cures)}"


# ---------------------------------------------------------------------------------------------------- axes of a sweep


def _notes(parsed: Sequence[Override], sweeps: Sequence[Override]) -> list[str]:
    """Return a line on each axis that what was typed beside it replaces or overrides."""
    typed = {item.get_key_element().lstrip("+"): item for item in parsed if item not in sweeps}
    axes = {key: item for key, item in typed.items() if item.is_sweep_override()}
    notes = []
    for sweep in sweeps:
        for name in sweep.sweep_string_iterator() if sweep.is_sweep_override() else [str(sweep.value())]:
            for key, axis in _axes_of(name).items():
                if key in typed:
                    line = f"takes the place of {axis.input_line}, the axis of +sweep={name}"
                    notes.append(f"{_shown(typed[key].input_line)}: {line}")
                else:
                    axes.setdefault(key, axis)
    for key, axis in axes.items():
        notes += [f"{_shown(item.input_line)}: {text}" for item in typed.values() if (text := _beside(key, axis, item))]
    if not axes:
        notes.append("-m: no key has several values, so this is one run")
    return [f"note: {note}" for note in notes]


def _axes_of(name: str) -> dict[str, Override]:
    """Return the axes of a file of conf/sweep by their keys; {} if there is none."""
    file = keys.CONF / "sweep" / f"{name}.yaml"
    params: Any = OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params") if file.exists() else None
    words = [f"{key}={value}" for key, value in (params or {}).items()]
    return {
        item.get_key_element(): item
        for item in OverridesParser.create().parse_overrides(words)
        if item.is_sweep_override()
    }


def _beside(key: str, axis: Override, item: Override) -> str | None:
    """Say that a word and an axis set the same key, one of them through the files of a group."""
    mine = item.key_or_group
    if mine == key:
        return None
    if key in groups() and axis.is_choice_sweep():
        files = [name for name in axis.sweep_string_iterator() if _sets(key, name, mine)]
        return f"wins over {', '.join(f'{key}={name}' for name in files)} in every arm" if files else None
    if mine in groups() and isinstance(item.value(), str) and _sets(mine, item.value(), key):
        return f"its {key} is replaced by the axis {axis.input_line}"
    return None


def _sets(group: str, option: Any, key: str) -> bool:
    """True if that file of conf/ sets the key, itself or in a file that it takes in."""
    file = keys.CONF / group / f"{option}.yaml"
    if not file.exists():
        return False
    text = file.read_text(encoding="utf-8")
    own: Any = OmegaConf.to_container(OmegaConf.create(text))
    inner = key if "@package _global_" in text else key.removeprefix(f"{group}.")
    if any(f"{name}.".startswith(f"{inner}.") for name in flatten(own)):
        return True
    taken = [entry for entry in own.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    return any(_sets(group, entry, key) for entry in taken)
