"""Everything that a client can be told went wrong, in OpenAI's shape.

ApiError
├── InvalidRequest          400  the body, or a field of it (`param`)
├── InvalidHttp             400  no HTTP request at all, or one that could be read in two ways
├── InvalidKey              401  no key, or one that opens nothing
├── EndpointNotSupported    403  this model's engine has no such endpoint (embeddings, say)
├── ModelNotFound           404  no such name for this tenant; another tenant's looks the same
├── CompletionNotFound      404  feedback for an id that was never served to this tenant
├── Missing                 404  a file, fine-tuning job, event or checkpoint of this tenant's
├── ResponseNotFound        404  a response by its id: none are kept
├── UnknownRoute            404
├── MethodNotAllowed        405
├── RequestTimeout          408  the body took too long to come
├── CompletionUnderWay      409  feedback for a completion that is still being written
├── Conflict                409  what is there doesn't allow it: a file in use, a job that is over
├── BodyTooLarge            413
├── UnsupportedEncoding     415  a compressed body
├── HeadTooLarge            431
├── RateLimited             429  over one of the tenant's limits; later it will be let in
│   └── QuotaSpent          429  the day's tokens are used up: the SDK is told not to try again
├── TooManyJobs             429  as many fine-tuning jobs under way as the tenant may have
├── EngineRefusedRequest    4xx  the engine's own validation error, passed on
├── InternalError           500
├── EngineFailed            502  the engine broke, or answered with another model than asked
├── EngineUnavailable       503  no engine can be reached; Retry-After says when to come back
├── EngineOverloaded        503  no place in the engine came free in time
├── Unhealthy               503  the process needs a restart; said to probes only
├── ShuttingDown            503  this router ends; another one, or the next, will answer
├── RegistryUnavailable     503  what was asked needs the database, and it is away
└── VersionUnavailable      503  the version can't be served and the policy is not to fall back

`{"error": {"message", "type", "param", "code"}}`: all four keys, always. Messages never contain a
key, a stack trace or an internal name. https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import msgspec

Headers = list[tuple[bytes, bytes]]

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class ApiError(Exception):
    """Base of all answers that are not a result."""

    status = 500
    type = SERVER_ERROR
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def detail(self) -> dict[str, str | None]:
        """What goes under `error`."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def body(self) -> bytes:
        """The response body."""
        return msgspec.json.encode({"error": self.detail()})

    def event(self) -> bytes:
        """The same as the last event of a stream that can't go on: the SDK raises APIError."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> Headers:
        """Headers that belong to this error; `retry-after` is in whole seconds, rounded up."""
        if self.retry_after_s is None:
            return []
        return [
            (b"retry-after", b"%d" % max(1, -int(-self.retry_after_s // 1))),
            (b"retry-after-ms", b"%d" % max(1, -int(-self.retry_after_s * 1000 // 1))),
        ]


class InvalidRequest(ApiError):
    """The body is not what the API takes."""

    status = 400
    type = INVALID_REQUEST

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        self.code = code


class InvalidHttp(ApiError):
    """Bytes that are no HTTP request, or one that could be read in two ways."""

    status = 400
    type = INVALID_REQUEST
    code = "invalid_http"

    def __init__(self) -> None:
        super().__init__("What was sent is not a valid HTTP/1.1 request.")


class InvalidKey(ApiError):
    """Missing, malformed, unknown, revoked or expired: told apart only where the caller knows."""

    status = 401
    type = INVALID_REQUEST
    code = "invalid_api_key"

    def headers(self) -> Headers:
        return [(b"www-authenticate", b"Bearer")]


class EndpointNotSupported(ApiError):
    """The engine that serves this model has no such endpoint."""

    status = 403
    type = INVALID_REQUEST
    code = "endpoint_not_supported"

    def __init__(self, path: str, model: str) -> None:
        what = "makes no embeddings" if path.endswith("embeddings") else f"has no {path}"
        super().__init__(
            f"You are not allowed to ask `{model}` through {path}: its engine {what}.",
            param="model",
        )


class ModelNotFound(ApiError):
    """No such model for this tenant."""

    status = 404
    type = INVALID_REQUEST
    code = "model_not_found"

    def __init__(self, name: str) -> None:
        shown = name if len(name) <= 200 else name[:200] + "…"
        super().__init__(
            f"The model `{shown}` does not exist or you do not have access to it.", param="model"
        )


class CompletionNotFound(ApiError):
    """No such completion for this tenant."""

    status = 404
    type = INVALID_REQUEST
    code = "completion_not_found"

    def __init__(self, completion_id: str) -> None:
        super().__init__(
            f"The completion `{completion_id[:100]}` does not exist or is no longer kept.",
            param="completion_id",
        )


class CompletionUnderWay(ApiError):
    """It is this tenant's, and not finished. The SDK tries again by itself."""

    status = 409
    type = INVALID_REQUEST
    code = "completion_under_way"

    def __init__(self, completion_id: str) -> None:
        super().__init__(
            f"The completion `{completion_id[:100]}` is still being written: "
            "send feedback once it has ended.",
            param="completion_id",
            retry_after_s=1,
        )


class ResponseNotFound(ApiError):
    """Nobody's response can be had by its id."""

    status = 404
    type = INVALID_REQUEST
    code = "response_not_found"

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Response with id '{response_id[:100]}' not found: responses are not kept here.",
            param="response_id",
        )


class Missing(ApiError):
    """No such file, job, event or checkpoint for this tenant; another tenant's looks the same."""

    status = 404
    type = INVALID_REQUEST
    code = "not_found"


class Conflict(ApiError):
    """What is there doesn't allow it. The SDK need not try again."""

    status = 409
    type = INVALID_REQUEST
    code = "conflict"

    def headers(self) -> Headers:
        return [(b"x-should-retry", b"false")]


class TooManyJobs(ApiError):
    """Room comes when a job ends, which takes longer than a client should wait."""

    status = 429
    type = "requests"
    code = "too_many_jobs"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most} fine-tuning jobs that are not over, which is the most: wait for one "
            "to end, or cancel one."
        )

    def headers(self) -> Headers:
        return [(b"x-should-retry", b"false")]


class UnknownRoute(ApiError):
    """No such path."""

    status = 404
    type = INVALID_REQUEST
    code = "unknown_url"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({method} {path[:200]})")


class MethodNotAllowed(ApiError):
    """The path is there, with another method."""

    status = 405
    type = INVALID_REQUEST
    code = "method_not_supported"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"Not allowed to {method} on {path[:200]}: expected {allowed}.")
        self.allowed = allowed

    def headers(self) -> Headers:
        return [(b"allow", self.allowed.encode())]


class RequestTimeout(ApiError):
    """The body did not come in time. The SDK tries again by itself."""

    status = 408
    type = INVALID_REQUEST
    code = "body_timeout"

    def __init__(self) -> None:
        super().__init__("The request body took too long to arrive.")

    def headers(self) -> Headers:
        return [(b"connection", b"close")]


class BodyTooLarge(ApiError):
    """More bytes than the router takes."""

    status = 413
    type = INVALID_REQUEST
    code = "request_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit} bytes.")


class HeadTooLarge(ApiError):
    """More bytes of headers than the router takes."""

    status = 431
    type = INVALID_REQUEST
    code = "headers_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request's headers are larger than {limit} bytes.")


class UnsupportedEncoding(ApiError):
    """A body that would have to be unpacked first, to a size that nobody knows."""

    status = 415
    type = INVALID_REQUEST
    code = "unsupported_encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The request body is encoded as '{encoding[:50]}': send it as plain JSON."
        )


class RateLimited(ApiError):
    """The tenant is over one of its limits: `limit` is its name. Types are OpenAI's."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float,
        type: str = "requests",
        limit: str = "",
        more: Headers | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.type = type
        self.limit = limit
        self.more = more or []

    def headers(self) -> Headers:
        return [*super().headers(), *self.more]


class QuotaSpent(RateLimited):
    """The daily budget has no room for the request; a client that retried would only wait."""

    code = "insufficient_quota"

    def __init__(
        self, message: str, *, retry_after_s: float, limit: str, more: Headers | None = None
    ) -> None:
        super().__init__(
            message, retry_after_s=retry_after_s, type=self.code, limit=limit, more=more
        )

    def headers(self) -> Headers:
        return [*super().headers(), (b"x-should-retry", b"false")]


class EngineRefusedRequest(ApiError):
    """The engine's own 4xx: its status and message, our shape."""

    type = INVALID_REQUEST

    def __init__(self, status: int, message: str, *, param: str | None, code: str | None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code


class InternalError(ApiError):
    """A bug of ours; the request id leads to the log."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request.")


class EngineFailed(ApiError):
    """The engine broke while it worked on the request, or its answer can't be trusted."""

    status = 502
    code = "engine_error"


class EngineUnavailable(ApiError):
    """No engine can be reached."""

    status = 503
    code = "engine_unavailable"


class Unhealthy(ApiError):
    """The process needs a restart. Said to probes only."""

    status = 503
    code = "unhealthy"

    def __init__(self, trouble: str) -> None:
        super().__init__(f"The router does not do its work any more: {trouble}.")


class ShuttingDown(ApiError):
    """The router was told to end, and the request came, or still ran, too late."""

    status = 503
    code = "shutting_down"

    def __init__(self, *, retry_after_s: float | None = None) -> None:
        super().__init__(
            "The server is shutting down. Please try again shortly.", retry_after_s=retry_after_s
        )


class EngineOverloaded(ApiError):
    """Every place in the engine was taken for too long, or too many wait for one."""

    status = 503
    code = "engine_overloaded"


class RegistryUnavailable(ApiError):
    """The database is away; completions go on without it."""

    status = 503
    code = "registry_unavailable"


class VersionUnavailable(ApiError):
    """The version can't be served now, and the policy says to fail. `soon`: whether trying again
    in a moment may help; it doesn't where no version is live yet."""

    status = 503
    code = "version_unavailable"

    def __init__(self, message: str, *, retry_after_s: float, soon: bool = True) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.soon = soon

    def headers(self) -> Headers:
        return super().headers() if self.soon else [(b"x-should-retry", b"false")]
