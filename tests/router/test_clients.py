"""Clients as people use them, unmodified, each a program of its own against a real router.

openai 3.x is in this environment; 2.x, LangChain and LiteLLM need others' versions, so they have an
environment of their own (`make clients`, which `make test` does).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.router.conftest import BASE, Running, World

ROOT = Path(__file__).parents[2]
OTHERS = ROOT / ".venv-clients" / "bin" / "python"


async def spoken(router: Running, program: str, python: Path) -> Any:
    """What a program printed, run as acme."""
    if not python.exists():
        pytest.fail(f"{python} is missing: `make clients` makes it (so does `make test`)")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "OPENAI_API_KEY": router.world.keys["acme"],
        "OPENAI_BASE_URL": f"{router.url}/v1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would ask the internet for prices
        "LANGSMITH_TRACING": "false",
    }
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(ROOT / "tests" / "clients" / program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    return json.loads(out.decode().strip().splitlines()[-1])


@pytest.fixture
def said(world: World) -> str:
    """What the fake engine answers."""
    served = world.registry.versions.all("acme")[0].served_name
    return f"{served} says: my parcel is late"


@pytest.mark.parametrize(
    ("python", "version"), [(Path(sys.executable), "3."), (OTHERS, "2.")], ids=["3.x", "2.x"]
)
async def test_the_openai_sdk(router: Running, said: str, python: Path, version: str) -> None:
    got = await spoken(router, "speak_openai.py", python)
    assert got["version"].startswith(version)
    whole = got["sync"]
    assert whole["model"] == "triage" and whole["text"] == said
    assert whole["id"] == "chatcmpl-" + whole["request_id"].removeprefix("req_")
    assert whole["streamed"] == whole["helper"] == said
    assert whole["usage"] == len(said.split(" ")) + 1
    assert whole["completion"] == "xxx"
    assert whole["response"] == whole["response_streamed"] == said
    assert {"triage", BASE} <= {*whole["models"]} and whole["one_model"] == "triage"
    several = got["async"]
    assert several["texts"] == [said] and several["streamed"] == said
    assert several["kinds"] == ["response.created", "response.completed"]
    assert several["errors"] == {
        "unknown": ["NotFoundError", "model_not_found", True],
        "empty": ["BadRequestError", "empty_array", True],
        "embeddings": ["PermissionDeniedError", "endpoint_not_supported", True],
    }


async def test_langchains_chat_openai(router: Running, said: str) -> None:
    got = await spoken(router, "speak_langchain.py", OTHERS)
    assert got["model"] == "triage" and got["text"] == said
    assert got["usage"]["output_tokens"] == got["streamed_usage"]["output_tokens"] > 0
    assert got["streamed"] == got["async"]["text"] == got["async"]["streamed"] == said
    assert [text.partition(" says: ")[2] for text in got["async"]["batch"]] == [
        "my parcel is late",
        "hello",
    ]
    assert got["responses"] == got["responses_streamed"] == said
    assert got["error"] == "model_not_found"


async def test_litellm_as_a_client(router: Running, said: str) -> None:
    got = await spoken(router, "speak_litellm.py", OTHERS)
    assert got["model"] == "triage" and got["text"] == said
    assert got["usage"] == got["streamed_usage"] > 0
    assert got["streamed"] == got["async"]["text"] == got["async"]["streamed"] == said
    assert got["error"] == "404"
