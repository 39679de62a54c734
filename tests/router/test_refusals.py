"""Each class of error that the SDK documents, from a real response; and HTTP at its edges."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO
from tests.router.test_errors import CHAT, is_error

BODY = json.dumps({"model": "triage", "messages": HELLO}).encode()


def documented() -> set[str]:
    """The SDK's classes for what an API may answer (not those for its files, tokens or sockets)."""
    classes = {name: kind for name, kind in [*vars(openai).items()] if isinstance(kind, type)}
    found = {name for name, kind in classes.items() if issubclass(kind, openai.APIError)}
    return found - {"APIStatusError", "APIResponseValidationError", "OAuthError"}


async def test_every_documented_class_is_raised_by_a_real_response(
    world: World, engine: FakeEngine
) -> None:
    raised: dict[str, openai.APIError] = {}

    async def meet(call: Any) -> None:
        with pytest.raises(openai.APIError) as caught:
            await call
        raised[type(caught.value).__name__] = caught.value

    world.registry.tenants.update("lex", requests_per_minute=1)
    async with running(world) as router:
        async with router.client() as client, router.client("lex") as limited:
            chat = client.chat.completions

            async def stream_to_the_end() -> None:
                async for _ in await chat.create(model="triage", messages=HELLO, stream=True):
                    pass

            await meet(chat.create(model="triage", messages=[]))
            await meet(chat.create(model="nobody", messages=HELLO))
            await meet(client.embeddings.create(model="triage", input="x"))
            await limited.chat.completions.create(model="clauses", messages=HELLO)
            await meet(limited.chat.completions.create(model="clauses", messages=HELLO))
            engine.fail_with = 422
            await meet(chat.create(model="triage", messages=HELLO))
            engine.fail_with = 503
            await meet(chat.create(model="triage", messages=HELLO))
            engine.fail_with = None
            engine.break_stream_after = 1
            await meet(stream_to_the_end())
            engine.break_stream_after, engine.slow_ms = None, 50
            stream = await chat.create(model="triage", messages=HELLO, stream=True)
            first = await anext(aiter(stream))
            feedback = {"completion_id": first.id, "rating": 1}
            await meet(client.post("/feedback", body=feedback, cast_to=object))
            await stream.close()
            engine.hang = True
            hasty = client.with_options(timeout=0.3)
            await meet(hasty.chat.completions.create(model="triage", messages=HELLO))
            engine.hang = False
        async with router.client(api_key="sk-wrong") as stranger:
            await meet(stranger.chat.completions.create(model="triage", messages=HELLO))
        gone = router.client()
    async with gone:
        await meet(gone.chat.completions.create(model="triage", messages=HELLO))

    assert raised.keys() == documented()
    for name, error in raised.items():
        if isinstance(error, openai.APIStatusError):
            assert error.request_id is not None, name
            assert error.type and error.message, name


@pytest.mark.parametrize("answered", ["409", "422", "400", "413"])
async def test_an_engines_own_refusal_keeps_its_status_where_the_client_caused_it(
    router: Running, engine: FakeEngine, answered: str
) -> None:
    engine.fail_with = int(answered)
    status, body, _ = await router.post(BODY)
    assert is_error(body)
    assert status == (502 if answered == "409" else int(answered)), "409 would be tried again"


async def test_a_grammar_that_the_engine_chokes_on_is_the_requests_fault(
    router: Running, engine: FakeEngine
) -> None:
    engine.fail_with = 500
    asked = {
        "model": "triage",
        "messages": HELLO,
        "structured_outputs": {"grammar": "root ::= root"},
    }
    for _ in range(8):
        status, body, _ = await router.post(json.dumps(asked).encode())
        assert status == 400 and is_error(body, "invalid_grammar")
    engine.fail_with = None
    status, _, _ = await router.post(BODY)
    assert status == 200, "no breaker opened on it"


async def test_where_no_version_is_live_the_sdk_does_not_try_again(
    router: Running, engine: FakeEngine, world: World
) -> None:
    world.registry.adapters.ensure("acme", "new", engine.base)
    world.registry.aliases.ensure("acme", "new", "new", fallback="fail")
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= world.registry.revision(),
        "the alias to be known",
    )
    async with router.client(max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="new", messages=HELLO)
    assert caught.value.code == "version_unavailable"
    assert caught.value.response.headers["x-should-retry"] == "false"
    served = {"tenant": "acme", "served": "adapter", "status": "503"}
    assert router.value("switchyard_requests_total", **served) == 1


async def test_methods_and_routes_that_are_not_there(router: Running) -> None:
    headers = {"authorization": f"Bearer {router.world.keys['acme']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path, status in (
            ("OPTIONS", CHAT, 405),
            ("DELETE", CHAT, 405),
            ("PUT", "/v1/models", 405),
            ("PATCH", "/v1/embeddings", 405),
            ("GET", "/v1/responses", 405),
            ("POST", "/v1/images/generations", 404),
            ("POST", "/v1/chat/completions/", 404),
            ("POST", "/v1/chat//completions", 404),
            ("POST", "/v1/CHAT/completions", 404),
            ("POST", "/v1/load_lora_adapter", 404),
            ("POST", "/adapters", 404),
            ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ):
            async with session.request(method, router.url + path) as answer:
                assert answer.status == status, (method, path)
                assert is_error(await answer.json()), (method, path)
                assert answer.headers["x-request-id"].startswith("req_")
                assert status != 405 or answer.headers["allow"]
        for path in (CHAT, "/v1/models", "/nowhere"):
            async with session.head(router.url + path) as answer:
                assert answer.status in (404, 405) and await answer.read() == b""
                assert answer.headers["x-request-id"].startswith("req_")


async def test_the_body_decides_not_its_content_type(router: Running, engine: FakeEngine) -> None:
    for said in ("text/plain", "application/x-www-form-urlencoded", "image/png", ""):
        status, _, _ = await router.post(BODY, **{"content-type": said})
        assert status == 200, said
    kind = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\ntriage\r\n--x--\r\n'
    status, body, _ = await router.post(part, **kind)
    assert status == 400 and is_error(body, "invalid_json")
    utf16 = BODY.decode().encode("utf-16")
    status, body, _ = await router.post(utf16, **{"content-type": "application/json"})
    assert status == 400 and is_error(body, "invalid_json")


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/embeddings", "/v1/feedback"])
async def test_a_packed_body_is_refused_by_name(router: Running, path: str) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    for how in ("gzip", "br", "GZIP, deflate"):
        status, body, _ = await router.post(bomb, path, **{"content-encoding": how})
        assert status == 415 and is_error(body, "unsupported_encoding"), how
    status, body, _ = await router.post(b"{", path, **{"content-encoding": "identity"})
    assert status == 400 and is_error(body, "invalid_json")


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(
    router: Running, engine: FakeEngine
) -> None:
    host, port = router.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer "
        f"{router.world.keys['acme']}\r\nExpect: 100-continue\r\n"
    )
    try:
        for _ in range(2):
            writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.write(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
    finally:
        writer.close()


async def test_a_body_in_chunks_is_read_whole(router: Running, engine: FakeEngine) -> None:
    async def drip() -> Any:
        for at in range(0, len(BODY), 7):
            yield BODY[at : at + 7]

    status, body, _ = await router.post(drip())  # type: ignore[arg-type]
    assert status == 200 and body["model"] == "triage"


async def test_names_that_look_alike_are_not_the_same(router: Running, engine: FakeEngine) -> None:
    for name in (
        "triage\u0000",
        "trıage",
        "triage ",
        "Triage",
        "tri\u200bage",
        "../triage",
        "\u202e",
    ):
        status, body, headers = await router.post(
            json.dumps({"model": name, "messages": HELLO}).encode()
        )
        assert status == 404 and is_error(body, "model_not_found"), repr(name)
        assert f"`{name}`" in body["error"]["message"]
        assert headers["x-request-id"]
    assert engine.asked() == []


async def test_an_engines_headers_stay_with_the_router(world: World, engine: FakeEngine) -> None:
    async with running(world) as router:
        for stream in (False, True):
            asked = {"model": "triage", "messages": HELLO, "stream": stream}
            headers = {"authorization": f"Bearer {world.keys['acme']}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(router.url + CHAT, json=asked) as answer,
            ):
                assert answer.status == 200
                await answer.read()
            ours = {name.lower() for name in answer.headers if not name.startswith("x-switchyard")}
            assert ours <= {
                *("content-type", "content-length", "transfer-encoding", "cache-control"),
                *("x-accel-buffering", "x-request-id", "date", "server", "connection"),
                *(name.lower() for name in answer.headers if "switchyard" in name.lower()),
            }
            assert "aiohttp" not in str(answer.headers).lower()
