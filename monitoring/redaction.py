"""Redaction: texts without secrets and personal data, before they are kept.

What is found is replaced by its kind in brackets (`[email-address]`): what is kept can still be
learned from. A net with meshes: names, street addresses and numbers of other kinds stay.
"""

from __future__ import annotations

from typing import Any

from monitoring.personal import without_personal
from monitoring.secrets import without_secrets


def redacted(text: str) -> str:
    """The text with every secret and every piece of personal data that is known replaced."""
    return without_personal(without_secrets(text, _kind), _kind)


def redacted_json(value: Any) -> Any:
    """The same for every string in a JSON value; keys stay, and so does data in a `data:` URL."""
    if isinstance(value, str):
        return value if value.startswith("data:") else redacted(value)
    if isinstance(value, dict):
        return {key: redacted_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted_json(item) for item in value]
    return value


def _kind(kind: str, _value: str) -> str:
    return f"[{kind}]"
