"""Fields of requests, by what becomes of them: used, accepted without effect, or refused by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NO_EFFECT = "Accepted, without effect."
NOT_SUPPORTED = "Not supported: refused unless null."

Ignored = Annotated[Any, Field(description=NO_EFFECT)]
Unsupported = Annotated[None, Field(description=NOT_SUPPORTED)]


class Strict(BaseModel):
    """A field that it does not know is refused by its name."""

    model_config = ConfigDict(extra="forbid")


class RefusedError(ValueError):
    """For a validator of several fields together to raise; `errors.invalid_field` names the one at fault."""

    def __init__(self, param: str, reason: str):
        super().__init__(f"{param} {reason}")
        self.param = param
