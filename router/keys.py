"""Keys: from an Authorization header to a tenant. Knows the view; nothing about HTTP bodies."""

from __future__ import annotations

from registry.tenants import Tenant, hash_key
from router.errors import InvalidKey
from router.view import View

_LONGEST = 512


def authenticate(authorization: bytes | None, view: View, now: float) -> Tenant:
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
    found = view.opens.get(hash_key(secret.decode("ascii")))
    if found is None:
        raise InvalidKey("Incorrect API key provided.")
    tenant, expires_at = found
    if expires_at is not None and expires_at <= now:
        raise InvalidKey("This API key has expired: ask for a new one.")
    return tenant
