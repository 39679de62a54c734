"""The account as one HTML page that asks for nothing else. Every text is escaped.

Knows the account's fields (monitoring/account.py); nothing of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from cli import room_settings
from cli.report import overview, tenant
from cli.report.table import moment

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1f; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
nav a { margin-right: 1rem; }
article { border-left: 4px solid #3b6ea5; padding: .2rem 1rem; margin: 1rem 0; }
figure { margin: 1rem 0; } figcaption { color: #55555c; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr { border-top: 1px solid #e3e3e8; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$note</p>
$parts
</body>
</html>
""")


def page(told: Mapping[str, Any]) -> str:
    """The whole page: all tenants together where the account has them, then a part for each. Needs
    matplotlib."""
    names = [found["tenant"] for found in told["tenants"]]
    title = f"Report: {names[0]}" if len(names) == 1 else f"Report: {len(names)} tenants"
    note = f"From {moment(told['since'])} to {moment(told['until'])}, UTC. "
    note += (
        "Traffic is what reached an engine and was recorded: requests that were refused at the "
        "door, or found no engine, are not in it. Errors are answers with a 5xx status."
    )
    if not told["complete"]:
        note += " There were more requests than a report looks at: traffic is that of the newest."
    if told["settings"] == room_settings.OWN:
        note += f" Of evidence: {room_settings.NO_CONTROLLER}."
    parts = [overview.part(told)] if "fleet" in told and names else []
    parts += [tenant.part(found, told) for found in told["tenants"]]
    return _PAGE.substitute(title=escape(title), note=escape(note), parts="\n".join(parts))
