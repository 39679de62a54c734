"""Keys: from an Authorization header to a tenant. Knows the snapshot; nothing about HTTP bodies."""

from __future__ import annotations

from registry.snapshot import Snapshot
from registry.tenants import Tenant, hash_key
from router.errors import InvalidKey

_LONGEST = 512


def authenticate(authorization: bytes | None, snapshot: Snapshot, now: float) -> Tenant:
    """The tenant that a `Bearer` key opens at `now` (seconds since the epoch).

    Raises InvalidKey. A revoked key is not in the snapshot, so it reads like one never made; no
    message repeats what was sent.
    """
    if authorization is None:
        raise InvalidKey(
            "You didn't provide an API key. Send it in an Authorization header: "
            "`Authorization: Bearer YOUR_KEY`."
        )
    scheme, _, secret = authorization.partition(b" ")
    secret = secret.strip()
    if scheme.lower() != b"bearer" or not secret or len(secret) > _LONGEST or not secret.isascii():
        raise InvalidKey("The Authorization header is malformed: expected `Bearer YOUR_KEY`.")
    key = snapshot.keys.get(hash_key(secret.decode("ascii")))
    if key is None:
        raise InvalidKey("Incorrect API key provided.")
    if key.expires_at is not None and key.expires_at <= now:
        raise InvalidKey("This API key has expired: ask for a new one.")
    tenant = snapshot.tenants.get(key.tenant)
    if tenant is None:
        raise InvalidKey("Incorrect API key provided.")
    return tenant
