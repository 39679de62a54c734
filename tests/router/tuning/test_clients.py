"""The script of a developer who leaves OpenAI, with the SDKs that people have."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.router.conftest import BASE, Running
from tests.router.test_clients import OTHERS, ROOT


@pytest.mark.parametrize("python", [Path(sys.executable), OTHERS], ids=["3.x", "2.x"])
async def test_the_script_runs_with_another_address_only(router: Running, python: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(python), str(ROOT / "tests" / "clients" / "fine_tune_openai.py")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "OPENAI_API_KEY": router.world.keys["acme"],
            "OPENAI_BASE_URL": f"{router.url}/v1",
            "FINE_TUNE_MODEL": BASE,
        },
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    got = json.loads(out)
    assert (got["paused"], got["resumed"], got["cancelled"]) == ("paused", "queued", "cancelled")
    assert got["listed"] and got["deleted"] and got["request_id"]
    assert got["lacking"] == []
    assert got["errors"] == {
        "request": ["BadRequestError", "invalid_value", "suffix"],
        "file": ["BadRequestError", "invalid_file_format", "file"],
        "unknown": ["NotFoundError", "not_found", "fine_tuning_job_id"],
        "conflict": ["ConflictError", "conflict", None],
        "key": ["AuthenticationError", "invalid_api_key", None],
        "too_many": ["RateLimitError", "too_many_jobs", None],
    }
