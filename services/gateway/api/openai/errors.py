"""Errors in OpenAI's form: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, StarletteHTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from services.gateway.api.openai.fields import RefusedError
from services.rpc.errors import ServiceError, status_of
from services.telemetry import logs

log = logs.get_logger(__name__)

INVALID = "invalid_request_error"
SERVER = "server_error"

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "rate_limit_exceeded"}

# gRPC status → HTTP status, type, code.
_KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, INVALID, "invalid_value"),
    grpc.StatusCode.OUT_OF_RANGE: (400, INVALID, "invalid_value"),
    grpc.StatusCode.FAILED_PRECONDITION: (400, INVALID, "invalid_value"),
    grpc.StatusCode.UNAUTHENTICATED: (401, INVALID, "invalid_api_key"),
    grpc.StatusCode.PERMISSION_DENIED: (403, INVALID, "permission_denied"),
    grpc.StatusCode.NOT_FOUND: (404, INVALID, "not_found"),
    grpc.StatusCode.ALREADY_EXISTS: (409, INVALID, "already_exists"),
    grpc.StatusCode.ABORTED: (409, INVALID, "conflict"),
    grpc.StatusCode.UNAVAILABLE: (503, SERVER, "service_unavailable"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, SERVER, "timeout"),
}


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    error: ErrorBody


# What every operation may answer, for the OpenAPI document.
RESPONSES = {"4XX": {"model": ErrorResponse}, "5XX": {"model": ErrorResponse}}


class ApiError(Exception):
    """What a client of the OpenAI API is told. `param`: the path of the field at fault, `retry_after` in seconds."""

    def __init__(
        self,
        message: str,
        code: str = "invalid_value",
        param: str | None = None,
        *,
        status: int = 400,
        type: str = INVALID,
        retry_after: float = 0.0,
    ):
        super().__init__(message)
        self.message, self.code, self.param = message, code, param
        self.status, self.type, self.retry_after = status, type, retry_after

    def body(self) -> dict[str, Any]:
        """All four fields; `param` is null where no field is at fault."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


def error_of(error: Exception) -> ApiError:
    """What a client is told of any exception; the log should carry the traceback of an unexpected one."""
    if isinstance(error, ApiError):
        return error
    status = status_of(error)
    if status.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if not status.retry_after:  # it will never fit
            return ApiError(status.message, "too_large", status=413)
        return ApiError(status.message, "rate_limit_exceeded", status=429, type=SERVER, retry_after=status.retry_after)
    http, kind, code = _KINDS.get(status.code, (500, SERVER, "internal_error"))
    return ApiError(status.message, code, status=http, type=kind, retry_after=status.retry_after)


def response_of(error: ApiError) -> JSONResponse:
    headers = {}
    if error.retry_after:
        headers = {
            "Retry-After": str(math.ceil(error.retry_after)),
            "retry-after-ms": str(round(1000 * error.retry_after)),
        }
    return JSONResponse({"error": error.body()}, error.status, headers)


def told_of(error: Exception, path: str) -> ApiError:
    """As `error_of`; what nobody expected is logged."""
    told = error_of(error)
    if told.code == "internal_error":
        log.error("request failed", path=path, message=told.message, exc_info=error)
    return told


def invalid_field(error: Mapping[str, Any], body: Any) -> ApiError:
    """What pydantic found wrong with a request, by the name of the field.

    A field that only takes `None` is one that is known and not supported; one that only takes some values is told them.
    """
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, RefusedError):
        return ApiError(str(raised), "invalid_value", raised.param)
    param = ".".join(map(str, _path(error["loc"], body, error["type"] == "missing"))) or None
    named = param or "the body"
    match error["type"]:
        case "missing":
            return ApiError(f"{named} is missing", "missing_required_parameter", param)
        case "extra_forbidden":
            return ApiError(f"{named} is unknown", "unknown_parameter", param)
        case "none_required":
            return ApiError(f"{named} is not supported here; leave it out", "unsupported_parameter", param)
        case "literal_error":
            return ApiError(f"{named} may only be {error['ctx']['expected']} here", "unsupported_value", param)
        case "json_invalid":
            return ApiError(f"the body is no JSON: {error['ctx']['error']}", "invalid_json")
        case kind if kind.endswith(("_type", "_parsing")):
            return ApiError(f"{named}: {error['msg']}", "invalid_type", param)
    return ApiError(f"{named}: {error['msg'].removeprefix('Value error, ')}", "invalid_value", param)


def _path(location: Sequence[str | int], body: Any, missing: bool) -> list[str | int]:
    """Pydantic's location without the names of a union's variants, which are no fields of the body.

    `missing`: the last of it is not in the body.
    """
    path = _resolve(location, body, missing)
    while path is None:
        location = location[:-1]
        path = _resolve(location, body, missing=False)
    return path


def _resolve(location: Sequence[str | int], value: Any, missing: bool) -> list[str | int] | None:
    """The parts of the location that lead to its end; None where none do."""
    if not location:
        return []
    part, *rest = location
    if not rest and missing and isinstance(value, Mapping):
        return [part]
    inside = _resolve(rest, value[part], missing) if _holds(value, part) else None
    if inside is not None:
        return [part, *inside]
    return _resolve(rest, value, missing) if rest else None


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def install(app: FastAPI) -> None:
    """Every error of the app is answered in OpenAI's form."""

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        code = HTTP_CODES.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}"
        response = response_of(ApiError(message, code, status=error.status_code))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return response_of(invalid_field({**first, "loc": first["loc"][1:]}, error.body))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        """Nobody reads it."""
        return JSONResponse({}, 499)

    async def told(request: Request, error: Exception) -> JSONResponse:
        return response_of(told_of(error, request.url.path))

    for kind in (ApiError, ServiceError, ValueError, TimeoutError):
        app.add_exception_handler(kind, told)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        """Beyond the middleware: the request's id is added here."""
        response = response_of(told_of(error, request.url.path))
        response.headers["x-request-id"] = request.scope.get("state", {}).get("request_id", "")
        return response
