"""The errors that a client of the API sees."""

from __future__ import annotations


class ApiError(Exception):
    """An answer other than success: a status, a stable code for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def bad_request(code: str, message: str) -> ApiError:
    """A request that can never succeed as it is."""
    return ApiError(400, code, message)


def conflict(code: str, message: str) -> ApiError:
    """A request that contradicts what the registry holds."""
    return ApiError(409, code, message)


def unavailable(code: str, message: str) -> ApiError:
    """A request that may succeed when it is sent again; every write may be repeated."""
    return ApiError(503, code, message, retry_after_s=1)


def request_outrun(what: str) -> ApiError:
    """A write that was held up until a later one had been applied."""
    return unavailable("request_expired", f"{what} was changed by a later write; this one is not applied over it")


def module_not_found(name: str) -> ApiError:
    """The module is unknown or deleted."""
    return ApiError(404, "module_not_found", f"module not found: {name}")


def version_not_found(module: str, version: str) -> ApiError:
    """The version is unknown or deleted, or its module is."""
    return ApiError(404, "version_not_found", f"version not found: {module}@{version}")
