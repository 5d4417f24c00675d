"""Fields of requests, by what becomes of them: used, accepted without effect, or refused by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

NO_EFFECT = "Accepted, without effect."
NOT_SUPPORTED = "Not supported: refused unless null."

Ignored = Annotated[Any, Field(description=NO_EFFECT)]
Unsupported = Annotated[None, Field(description=NOT_SUPPORTED)]


class Strict(BaseModel):
    """A field that it does not know is refused by its name."""

    model_config = ConfigDict(extra="forbid")


def refused(param: str, reason: str) -> PydanticCustomError:
    """For a validator of several fields together to raise; `errors.invalid_field` names the one at fault."""
    return PydanticCustomError("refused", "{reason}", {"param": param, "reason": reason})
