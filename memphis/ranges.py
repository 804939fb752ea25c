"""Number types with a range, and the rules by which every typed value of a config is checked."""

from typing import Annotated

from pydantic import ConfigDict, Field

# Unknown keys, wrong types, NaN and infinity are errors. A whole number may stand for a float; text and bools may not.
RULES = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Rate = Annotated[float, Field(gt=0.0)]
Length = Annotated[int, Field(gt=1)]
