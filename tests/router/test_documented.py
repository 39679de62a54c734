"""docs/router.md names every setting, error code, header, stripped field and reason there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import router
from router.errors import ApiError
from router.fallback import REASONS
from router.fields import REFUSED, STRIPPED
from router.settings import RouterSettings

ROOM = Path(router.__file__).parent
PAGE = (ROOM.parent / "docs" / "router.md").read_text()


def test_every_setting_is_documented_with_its_default() -> None:
    rows = {}
    for line in PAGE.partition("## Settings")[2].partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([a-z_]+)`", cells[0])
        rows.update(zip(names, cells[1].split(", ") if names else [], strict=True))
    defaults = {
        field.name: "" if field.default is None else str(field.default)
        for field in dataclasses.fields(RouterSettings)
    }
    assert {name: value.replace("true", "True") for name, value in rows.items()} == defaults


def test_every_error_code_reason_header_and_stripped_field_is_documented() -> None:
    classes, codes = [ApiError], set(re.findall(r'code="([a-z_]+)"', _source()))
    for cls in classes:
        classes += cls.__subclasses__()
        codes |= {cls.code} if cls.code else set()
    headers = set(re.findall(r'b"(x-[a-z-]+)"', _source())) - {"x-accel-buffering"}
    for name in codes | headers | {*REASONS} | {*STRIPPED} | {*REFUSED}:
        assert f"`{name}`" in PAGE, name


def _source() -> str:
    return "".join(path.read_text() for path in sorted(ROOM.glob("*.py")))
