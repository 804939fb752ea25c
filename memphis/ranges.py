"""Types of values with a range, and the rules by which every typed value of a config is checked."""

import os
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# Unknown keys, wrong types, NaN and infinity are errors. An int is accepted as a float; a bool or text is not.
RULES = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Rate = Annotated[float, Field(gt=0.0)]
Length = Annotated[int, Field(gt=1)]


def _of_a_length(place: str) -> str:
    """Return a path that a file system can have: 255 bytes for a part, 4,096 for the whole."""
    whole = os.fsencode(place)
    if len(whole) > 4096 or max(map(len, whole.split(b"/"))) > 255:
        raise PydanticCustomError("path_length", "A path has at most 4,096 bytes, each part at most 255")
    return place


Place = Annotated[str, Field(min_length=1), AfterValidator(_of_a_length)]  # a path, a hub id or what stands for one
