"""Errors in OpenAI's form: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import math
from typing import Any

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, StarletteHTTPException
from fastapi.responses import JSONResponse

from services.rpc.errors import status_of
from services.telemetry import logs

log = logs.get_logger(__name__)

INVALID = "invalid_request_error"
SERVER = "server_error"

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
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if error.retry_after else {}
    return JSONResponse({"error": error.body()}, error.status, headers)


def install(app: FastAPI) -> None:
    """Every error of the app is answered in OpenAI's form."""

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}"
        return response_of(ApiError(message, code, status=error.status_code))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:]) or None
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        return response_of(ApiError(f"{param or 'the body'}: {first['msg']}", code, param))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        told = error_of(error)
        if told.code == "internal_error":
            log.error("request failed", path=request.url.path, message=told.message, exc_info=error)
        return response_of(told)
