"""Types of values with a range, and the rules by which every typed value of a config is checked.

Every number has a least and a largest value: what is beyond can only fail, hang or do nothing, and is refused before
anything is built.
"""

import os
import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# Unknown keys, wrong types, NaN and infinity are errors. An int is accepted as a float; a bool or text is not.
RULES = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # numpy takes no larger ones
Positive = Annotated[int, Field(gt=0, le=1_000_000_000)]
Rows = Annotated[int, Field(gt=0, le=10_000_000)]  # that are generated, or steps
Size = Annotated[int, Field(gt=0, le=2**20)]  # of a batch, a text or a matrix
Length = Annotated[int, Field(gt=1, le=2**20)]
Few = Annotated[int, Field(gt=0, le=1_000)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]
Text = Annotated[str, Field(min_length=1)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PydanticCustomError(
            "regex",
            "not a regular expression ({reason}); write \\( for a bracket that stands for itself",
            {"reason": str(error)},
        ) from None
    return pattern


def _of_a_length(place: str) -> str:
    """Return a path that a file system can have: 255 bytes for a part, 4,096 for the whole."""
    whole = os.fsencode(place)
    if len(whole) > 4096 or max(map(len, whole.split(b"/"))) > 255:
        raise PydanticCustomError("path_length", "A path has at most 4,096 bytes, each part at most 255")
    return place


Regex = Annotated[Text, AfterValidator(_compiles), Field(json_schema_extra={"format": "regex"})]
Place = Annotated[Text, AfterValidator(_of_a_length)]  # a path, a hub id or what stands for one
