"""Checks what a client sent against a type of the `openai` package, and says in OpenAI's form what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from services.gateway.api.openai.errors import ApiError

SCALARS = ("int", "float", "str", "bool")  # members of unions: no fields, though pydantic names them

T = TypeVar("T", bound=BaseModel)


def validate(model: type[T], data: Any, path: str = "") -> T:
    """`path`: of `data` in what the client sent. Raises `ApiError` for a field that is missing, wrong or unknown."""
    try:
        value = model.model_validate(data, strict=True)  # "false" is not false
    except ValidationError as error:
        raise _told(error, path) from None
    for name in _unknown(value, path):
        raise ApiError(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    return value


def _told(error: ValidationError, path: str) -> ApiError:
    """Of a union every member complains: what is deepest, and not only the tag of another member, says most."""
    errors = error.errors()
    first = max(errors, key=lambda each: (each["loc"][-1:] != ("type",), len(each["loc"])))
    names = [str(part) for part in first["loc"] if isinstance(part, int) or part[:1].islower() or part[:1] == "_"]
    param = _join(path, *[name for name in names if "[" not in name and name not in SCALARS])
    if first["type"] == "missing":
        return ApiError(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
    code = "invalid_type" if first["type"].endswith("_type") else "invalid_value"
    return ApiError(f"Invalid value for '{param}': {first['msg']}", code, param or None)


def _unknown(value: Any, path: str) -> Iterator[str]:
    """Paths of the fields that the type does not have."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or ():
            yield _join(path, name)
        for name in value.model_fields_set & set(type(value).model_fields):
            yield from _unknown(getattr(value, name), _join(path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unknown(each, _join(path, str(index)))


def _join(*names: str) -> str:
    return ".".join(filter(None, names))
