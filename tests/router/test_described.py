"""The tenants' API is what its description says: schemathesis makes requests from it, good and bad,
and holds every answer against it.

Longer: SWITCHYARD_SCHEMATHESIS_EXAMPLES=500 pytest tests/router/test_described.py
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from router import description
from router.kinds import KINDS
from tests.router.conftest import BASE, ENGINE_KEY, World, running
from tests.router.test_hostile import CheckingEngine

COMMITTED = Path(description.__file__).parents[1] / "docs" / "openapi.json"
EXAMPLES = os.environ.get("SWITCHYARD_SCHEMATHESIS_EXAMPLES", "40")
OTHERS = "negative_data_rejection,positive_data_acceptance"
"""Checks that don't hold: what a field may be is the engine's to say, and the fake knows little."""


def test_the_committed_description_is_current() -> None:
    """After a change that is meant: `python -m router.description docs/openapi.json`."""
    assert COMMITTED.read_text("utf-8") == description.rendered()


def test_every_endpoint_and_field_that_reaches_an_engine_is_described() -> None:
    paths = json.loads(COMMITTED.read_text("utf-8"))["paths"]
    for kind in KINDS:
        body = paths[kind.path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert kind.passed <= body["properties"].keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_api_is_as_it_is_described(world: World, tmp_path: Path) -> None:
    names = {version.served_name for version in world.registry.versions.all()}
    async with CheckingEngine(base=BASE, adapters=names, api_key=ENGINE_KEY) as engine:
        world.engine(engine)
        async with running(world) as router:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "schemathesis.cli", "run", str(COMMITTED)),
                *("--url", router.url, "--no-color", "--workers=1", "--continue-on-failure"),
                *(f"--max-examples={EXAMPLES}", f"--exclude-checks={OTHERS}"),
                "--exclude-path-regex=^/v1/(files|fine_tuning)",  # tuning/test_described.py's
                *("--header", f"Authorization: Bearer {world.keys['acme']}"),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
            said = out.decode()
            assert process.returncode == 0, said[-8000:]
            generated = re.search(r"(\d+) generated", said)
            assert generated is not None and int(generated[1]) > 300, said[-2000:]
