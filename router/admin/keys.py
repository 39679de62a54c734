"""Tenants' keys over HTTP. A secret is in one answer only: that of the request that made it."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from registry import Registry
from registry.errors import InvalidValue
from registry.ranges import LONGEST_TEXT
from registry.tenants import LONGEST_GRACE_S, ApiKey, NewKey
from router.admin.errors import answers
from router.admin.fields import (
    AfterId,
    Body,
    IsWhole,
    KeyId,
    Limit,
    Moment,
    Page,
    Shape,
    TenantName,
    by_place,
    ends,
    whole,
    whole_or_none,
)

_Text = Annotated[
    str,
    Field(
        max_length=LONGEST_TEXT,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="For people, such as the service's name.",
        examples=["web"],
    ),
]
_Ttl = Annotated[
    int, Field(ge=1, le=100 * 365 * 86400, description="Ends after so many seconds."), IsWhole
]
_Grace = Annotated[
    int,
    Field(
        ge=0,
        le=int(LONGEST_GRACE_S),
        description="For how many seconds the old key opens still; 0 for a key that leaked.",
    ),
    IsWhole,
]


class KeyShape(Shape):
    """A key, as far as it may be seen."""

    object: Literal["tenant.key"] = "tenant.key"
    id: str
    tenant: str
    name: str
    hint: str = Field(description="The secret's beginning and end.", examples=["sk-sy-0123…cdef"])
    state: Literal["valid", "expired", "revoked"]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class SecretKeyShape(KeyShape):
    """A key at birth. This is the only answer that ever holds its secret."""

    secret: str = Field(examples=["sk-sy-0123456789abcdef0123456789abcdef01234567"])


class KeyPage(Page[KeyShape]):
    """Keys, the oldest first."""


_ONE_END: JsonDict = {
    "not": {
        "required": ["expires_at", "ttl_s"],
        "properties": {"expires_at": {"type": "integer"}, "ttl_s": {"type": "integer"}},
    }
}


class NewKeyBody(Body):
    """A key to create. It has no end unless `expires_at` or `ttl_s` (one of them) gives it one."""

    model_config = ConfigDict(json_schema_extra=_ONE_END)

    name: _Text = ""
    expires_at: Moment | None = None
    ttl_s: _Ttl | None = None


class RotationBody(Body):
    """How to rotate. The new key has no end unless `expires_at` or `ttl_s` gives it one."""

    model_config = ConfigDict(json_schema_extra=_ONE_END)

    grace_s: _Grace = 3600
    expires_at: Moment | None = None
    ttl_s: _Ttl | None = None


class Rotation(Shape):
    """The key to use from now on, and the one in whose place it is."""

    object: Literal["tenant.key.rotation"] = "tenant.key.rotation"
    key: SecretKeyShape
    replaced: KeyShape


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/tenants/{tenant}/keys", tags=["keys"])

    @router.get("", responses=answers(400, 404))
    def list_keys(tenant: TenantName, after: AfterId = None, limit: Limit = 20) -> KeyPage:
        """List a tenant's keys, those that ended included, the oldest first."""
        registry.tenants.get(tenant)
        rows = registry.tenants.keys(tenant)
        shown, ids, more = by_place(rows, lambda row: row.id, after, limit)
        first, last = ends(ids)
        data = [shape(row) for row in shown]
        return KeyPage(data=data, first_id=first, last_id=last, has_more=more)

    @router.post("", status_code=201, responses=answers(400, 404, 409))
    def create_key(tenant: TenantName, body: NewKeyBody) -> SecretKeyShape:
        """Create a key. Its secret is in this answer and nowhere else."""
        made = registry.tenants.create_key(tenant, body.name, _end(body))
        return born(made)

    @router.get("/{key}", responses=answers(400, 404))
    def get_key(tenant: TenantName, key: KeyId) -> KeyShape:
        """One key."""
        return shape(registry.tenants.key(tenant, key))

    @router.post("/{key}/rotate", status_code=201, responses=answers(400, 404, 409))
    def rotate_key(tenant: TenantName, key: KeyId, body: RotationBody | None = None) -> Rotation:
        """Make a key in this one's place; this one ends after the grace period."""
        registry.tenants.key(tenant, key)
        how = body or RotationBody()
        new, old = registry.tenants.rotate_key(key, how.grace_s, _end(how))
        return Rotation(key=born(new), replaced=shape(old))

    @router.post("/{key}/revoke", responses=answers(400, 404, 409))
    def revoke_key(tenant: TenantName, key: KeyId) -> KeyShape:
        """Revoke a key: within a second it opens nothing. Doing it again changes nothing."""
        registry.tenants.key(tenant, key)
        return shape(registry.tenants.revoke_key(key))

    return router


def _end(body: NewKeyBody | RotationBody) -> float | None:
    """Raises InvalidValue for two ends, or one that is past."""
    now = time.time()
    if body.ttl_s is not None:
        if body.expires_at is not None:
            raise InvalidValue("ttl_s", body.ttl_s, "nothing where expires_at is given too")
        return now + body.ttl_s
    if body.expires_at is not None and body.expires_at <= now:
        raise InvalidValue("expires_at", body.expires_at, f"a moment after now ({int(now)})")
    return body.expires_at


def shape(key: ApiKey) -> KeyShape:
    """A key as it is shown: never its hash."""
    return KeyShape(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        hint=key.hint,
        state=key.state(time.time()),  # type: ignore[arg-type]
        created_at=whole(key.created_at),
        expires_at=whole_or_none(key.expires_at),
        revoked_at=whole_or_none(key.revoked_at),
    )


def born(key: NewKey) -> SecretKeyShape:
    """A key at birth, with its secret."""
    return SecretKeyShape(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        hint=key.hint,
        state="valid",
        created_at=whole(key.created_at),
        expires_at=whole_or_none(key.expires_at),
        revoked_at=None,
        secret=key.secret,
    )
