"""Every curl line of docs/admin.md does what the page says, against a real admin API."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from registry import Registry
from tests.registry.making import make_adapter, make_version
from tests.router.administered import ADMIN_KEY, administered

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("curl ")]


def test_every_curl_line_succeeds_in_the_order_of_the_page(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    make_adapter(registry, adapter="triage")
    versions = [make_version(registry, seed, adapter="triage") for seed in range(3)]
    for version in versions[:2]:
        registry.versions.certify(version.digest, {"parity": 0.01})
        registry.aliases.flip("acme", "triage", version.digest)
    key = registry.tenants.create_key("acme")
    registry.engines.register(
        "engine-1", "http://127.0.0.1:8100", "switchyard-tiny", max_loras=4, max_lora_rank=16
    )
    registry.engines.heartbeat("engine-1", "down")
    with administered(registry) as client:
        known = {
            "ADMIN": str(client.base_url),
            "AUTH": f"Authorization: Bearer {ADMIN_KEY}",
            "KEY_ID": key.id,
            "VERSION": versions[2].short,
        }
        assert len(LINES) >= 12
        for line in LINES:
            verb, url, headers, body = curl(line, known)
            answer = client.request(verb, url, headers=headers, content=body)
            assert answer.is_success, (line, answer.text)
    assert registry.tenants.get("globex").tokens_per_day == 2_000_000
    assert registry.tenants.key("acme", key.id).revoked_at is not None
    alias = registry.aliases.get("acme", "triage")
    assert (alias.live, alias.canary) == (versions[0].digest, None)
    assert registry.engines.all() == []


def curl(line: str, known: dict[str, str]) -> tuple[str, str, dict[str, str], str | None]:
    """(verb, URL, headers, body) of a curl command, its variables filled in; as curl reads it."""
    words = shlex.split(re.sub(r"\$([A-Z_]+)", lambda found: known[found[1]], line))[1:]
    verb, url, headers, body = "GET", "", {}, None
    while words:
        word = words.pop(0)
        if word == "-X":
            verb = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
            verb = "POST" if verb == "GET" else verb
            headers.setdefault("content-type", "application/x-www-form-urlencoded")
        else:
            assert not word.startswith("-"), f"this test doesn't know curl's {word}"
            url = word
    return verb, url, headers, body
