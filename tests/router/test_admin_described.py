"""The admin API is what its description says: schemathesis makes requests from the description and
holds every answer against it (statuses, schemas, headers, content types, keys, refused nonsense).

Longer, and on PostgreSQL:

    SWITCHYARD_SCHEMATHESIS_EXAMPLES=500 pytest tests/router/test_admin_described.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from registry import Registry
from router.admin import document, gate
from tests.registry.making import digest_of, make_adapter, make_version
from tests.router.administered import ADMIN_KEY, administered

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "admin-openapi.json"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = os.environ.get("SWITCHYARD_SCHEMATHESIS_EXAMPLES")


def scene(registry: Registry) -> None:
    """Something of each noun, so that requests find what to work on."""
    make_adapter(registry)
    for seed in range(3):
        version = make_version(registry, seed)
        registry.versions.certify(version.digest, {"parity": 0.01})
        registry.aliases.flip("acme", "tickets", version.digest)
    registry.aliases.ensure("acme", "triage", "tickets")
    registry.tenants.create_key("acme")
    registry.engines.register(
        "engine-0", "http://127.0.0.1:8100", "switchyard-tiny", max_loras=4, max_lora_rank=16
    )
    registry.engines.place("engine-0", digest_of(1), "warm")
    registry.roll_back("acme", "tickets", "somebody")


@pytest.mark.slow
@pytest.mark.timeout(3600 if EXAMPLES else 600)
def test_the_api_is_as_it_is_described(sqlite_registry: Registry, tmp_path: Path) -> None:
    """About 1,600 requests; some 20 s of a core."""
    conforms(sqlite_registry, tmp_path, EXAMPLES or "20")


@pytest.mark.slow
@pytest.mark.timeout(3600 if EXAMPLES else 600)
@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_api_is_as_it_is_described_on_postgresql_too(
    registry: Registry, tmp_path: Path
) -> None:
    conforms(registry, tmp_path, EXAMPLES or "10", least=500)


def conforms(registry: Registry, folder: Path, examples: str, least: int = 1000) -> None:
    """Run schemathesis on an admin API; what it found is the test's failure."""
    scene(registry)
    with (
        pytest.MonkeyPatch.context() as patch,
        structlog.testing.capture_logs() as logs,
    ):
        patch.setattr(gate, "PER_SECOND", 10_000.0)  # how fast a key may be tried is not asked here
        with administered(registry) as client:
            done = asked(str(client.base_url), folder, examples)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None and int(generated[1]) > least, done.stdout[-2000:]
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert ADMIN_KEY not in repr(logs)
    assert "sk-sy-" not in repr(logs)


def asked(url: str, folder: Path, examples: str) -> subprocess.CompletedProcess[str]:
    """All that schemathesis can think of, on the API at `url`."""
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIGURATION}"]
    command += ["run", f"{url.rstrip('/')}/openapi.json", "--no-color", "--workers=1"]
    command += [f"--max-examples={examples}", "--continue-on-failure"]
    command += ["--header", f"Authorization: Bearer {ADMIN_KEY}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_committed_description_is_current(sqlite_registry: Registry) -> None:
    """After a change that is meant: `make generated`, and read the diff."""
    with administered(sqlite_registry) as client:
        served = client.get("/openapi.json").json()
    committed = COMMITTED.read_text("utf-8")
    assert served == json.loads(committed)
    assert committed == document.rendered(served)


def test_every_operation_and_field_is_described(sqlite_registry: Registry) -> None:
    described = json.loads(COMMITTED.read_text("utf-8"))
    for path, operations in described["paths"].items():
        for verb, operation in operations.items():
            assert operation["summary"], (verb, path)
            assert operation["description"], (verb, path)
            wanted = {"408", "413", "500", "503"} | ({"401"} if path.startswith("/v1/") else set())
            assert wanted <= set(operation["responses"]), (verb, path)
    assert described["security"] == [{"adminKey": []}]
    for name, schema in described["components"]["schemas"].items():
        assert schema["description"], name
