"""Redaction: texts without secrets and personal data, before they are kept.

What is found is replaced by its kind in brackets (`[email-address]`): what is kept can still be
learned from. A net with meshes: names, street addresses and numbers of other kinds stay.
"""

from __future__ import annotations

import re
from typing import Any

from monitoring.personal import without_personal
from monitoring.secrets import without_secrets

_DATA = re.compile(r"data:[\w/+.-]{1,100};base64,[A-Za-z0-9+/=]+")
"""Of bytes as text: what is found in them is there by chance. A text may begin with `data:` too."""


def redacted(text: str) -> str:
    """The text with every secret and every piece of personal data that is known replaced."""
    return without_personal(without_secrets(text, _kind), _kind)


def redacted_json(value: Any) -> Any:
    """The same for every string in a JSON value; keys stay, and so does a `data:` URL of base64."""
    if isinstance(value, str):
        return value if _DATA.fullmatch(value) else redacted(value)
    if isinstance(value, dict):
        return {key: redacted_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted_json(item) for item in value]
    return value


def _kind(kind: str, _value: str) -> str:
    return f"[{kind}]"
