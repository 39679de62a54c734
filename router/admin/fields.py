"""Fields that several nouns share: names, moments, versions, and lists with their cursors.

Bodies are strict, so that `"5"` is no number and an unknown field is an error and not a silent
default. Moments are whole seconds since the epoch, as everywhere in OpenAI's API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from registry.errors import NotFound
from registry.ranges import LATEST

ItemType = TypeVar("ItemType")
RowType = TypeVar("RowType")

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$"
_VERSION = r"^([a-z0-9][a-z0-9-]{0,62}@)?[0-9a-f]{6,64}$"

TenantName = Annotated[str, Path(pattern=NAME, description="The tenant's name.", examples=["acme"])]
AliasName = Annotated[str, Path(pattern=NAME, description="The alias's name.", examples=["triage"])]
VersionName = Annotated[
    str,
    Path(
        pattern=_VERSION,
        description="Served name, digest, or at least its first six digits.",
        examples=["triage@0123456789ab"],
    ),
]
Id = Annotated[str, Path(pattern=_ID, description="Its id.")]

Name = Annotated[
    str,
    Field(pattern=NAME, description="1–63 of a–z, 0–9 and '-'.", examples=["acme"]),
]
VersionRef = Annotated[
    str,
    Field(
        pattern=_VERSION,
        description="A version: served name, digest, or at least its first six digits.",
        examples=["triage@0123456789ab"],
    ),
]
Moment = Annotated[
    int, Field(ge=0, le=LATEST, description="Seconds since the epoch.", examples=[1893456000])
]

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
AfterId = Annotated[
    str | None,
    Query(pattern=_ID, description="The `last_id` of the page before: what comes behind it."),
]
AfterName = Annotated[
    str | None,
    Query(pattern=NAME, description="The `last_id` of the page before: what comes behind it."),
]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Shape(BaseModel):
    """A resource as it is shown."""

    model_config = ConfigDict(ser_json_inf_nan="null", extra="forbid")


class Page(Shape, Generic[ItemType]):
    """A part of a list. `last_id`, given as `after`, leads to the next part."""

    object: Literal["list"] = "list"
    data: list[ItemType]
    first_id: str | None = Field(description="Of the first item here.")
    last_id: str | None = Field(description="Of the last item here.")
    has_more: bool = Field(description="Whether there is more behind the last one.")


class Deleted(Shape):
    """What is no more."""

    id: str
    object: str
    deleted: Literal[True] = True


def left_out() -> Any:
    """Stands for a field that a change doesn't name; `model_fields_set` tells which it does."""
    return None


def whole(moment: float) -> int:
    """A moment in whole seconds."""
    return int(moment)


def whole_or_none(moment: float | None) -> int | None:
    """A moment in whole seconds, where there is one."""
    return None if moment is None else int(moment)


def cut(
    rows: Sequence[RowType], ids: Sequence[str], after: str | None, limit: int, noun: str
) -> tuple[Sequence[RowType], Sequence[str], bool]:
    """The part of a whole list behind `after`: rows, their ids, whether there is more.

    Raises NotFound where no row has that id.
    """
    start = 0
    if after is not None:
        if after not in ids:
            raise NotFound(noun, after)
        start = ids.index(after) + 1
    end = start + limit
    return rows[start:end], ids[start:end], len(rows) > end


def ends(ids: Sequence[str]) -> tuple[str | None, str | None]:
    """(first, last) of a page's ids."""
    return (ids[0], ids[-1]) if ids else (None, None)
