"""What the admin API answers where it can't do what was asked: OpenAI's shape, as the router's.

ApiError (router.errors)
├── InvalidKey               401  no admin key, or a wrong one
├── (router's) Missing       404  no such tenant, key, alias, version, engine
├── Taken                    409  the name is
├── (router's) Conflict      409  not in this state, the body names what isn't there, or a race
├── TooSlow                  408  the body did not arrive in time
└── Busy                     503  more requests at once than it takes

Registry errors become these in one place, `answer_to`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import structlog
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from registry.errors import (
    AlreadyExists,
    DatabaseUnavailable,
    InvalidName,
    InvalidTransition,
    InvalidValue,
    NotFound,
    NothingBefore,
    NotServable,
    SchemaOutdated,
)
from router.errors import (
    INVALID_REQUEST,
    ApiError,
    Conflict,
    InvalidRequest,
    Missing,
    RegistryUnavailable,
)

_log = structlog.get_logger("router.admin")


class Taken(ApiError):
    """There is one of that name already."""

    status = 409
    type = INVALID_REQUEST
    code = "already_exists"


class TooSlow(ApiError):
    """The body did not arrive in time."""

    status = 408
    type = INVALID_REQUEST
    code = "request_timeout"


class Busy(ApiError):
    """More requests at once than the admin API takes: tenants' requests come first."""

    status = 503
    code = "busy"

    def __init__(self) -> None:
        super().__init__("The admin API has too much to do at once.", retry_after_s=1)


class Detail(BaseModel):
    """What went wrong."""

    message: str = Field(description="For people: what, where, what was expected.")
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="The field or noun that it is about.")
    code: str | None = Field(description="For programs.", examples=["not_found"])


class Error(BaseModel):
    """An error, in OpenAI's shape."""

    error: Detail


def answer_to(error: Exception) -> ApiError:
    """The answer to what the registry raised. Messages never hold a key or a row's insides."""
    match error:
        case NotFound():
            return Missing(_sentence(error), param=error.noun)
        case AlreadyExists():
            return Taken(_sentence(error), param=error.noun)
        case InvalidName():
            return InvalidRequest(_sentence(error), param=error.noun, code="invalid_value")
        case InvalidValue():
            return InvalidRequest(_sentence(error), param=error.field, code="invalid_value")
        case InvalidTransition() | NotServable() | NothingBefore():
            return Conflict(_sentence(error))
        case IntegrityError() | StaleDataError():
            return Conflict("Somebody else changed this at the same moment: look, and try again.")
        case DatabaseUnavailable() | SchemaOutdated():
            _log.warning("registry unreachable", error=str(error))
            return RegistryUnavailable(
                "The registry can't be reached at the moment. Please try again shortly.",
                retry_after_s=2,
            )
    raise error


ANSWERED = (
    NotFound,
    AlreadyExists,
    InvalidName,
    InvalidValue,
    InvalidTransition,
    NotServable,
    NothingBefore,
    IntegrityError,
    StaleDataError,
    DatabaseUnavailable,
    SchemaOutdated,
)


@contextmanager
def named_in_the_body() -> Iterator[None]:
    """What a body names and isn't there is a conflict: 404 speaks of the path alone."""
    try:
        yield
    except NotFound as error:
        raise Conflict(_sentence(error), param=error.noun) from None


def refusal(found: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The answer to a request that doesn't fit its description; `found` are pydantic's errors.

    Names the field and what was expected, never what was sent.
    """
    first = found[0]
    where = [str(part) for part in first["loc"]]
    source, path = where[0], ".".join(where[1:])
    if first["type"] == "json_invalid":
        return InvalidRequest(
            "We could not parse the JSON body of your request.", code="invalid_json"
        )
    named = f"'{path}' in the {source}" if path else source
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return InvalidRequest(f"Invalid {named}: {first['msg']}.", param=path or source, code=code)


MEANINGS = {
    400: "The request doesn't fit this description; `param` names the field.",
    401: "No admin key, or a wrong one.",
    404: "There is nothing of that path; `param` names its kind.",
    405: "The path takes other methods; see `Allow`.",
    408: "The body did not arrive in time.",
    409: (
        "What is there doesn't allow it, what the body names isn't there, or somebody else changed "
        "it at the same moment."
    ),
    413: "The body is too large.",
    500: "A fault of ours; `x-request-id` leads to the log.",
    503: "The registry can't be reached, or there is too much to do at once; see `Retry-After`.",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer besides its result, for the OpenAPI description."""
    return {
        status: {"model": Error, "description": MEANINGS[status]}
        for status in sorted({*statuses, 401, 408, 413, 500, 503})
    }


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
