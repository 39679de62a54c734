"""Whatever is wrong, the client gets OpenAI's error shape and the SDK's own exception class."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import openai
import pytest

from router.errors import ApiError
from tests.fake_engine import FakeEngine
from tests.router.conftest import ENGINE_KEY, Running, World, running, until
from tests.router.test_chat import HELLO

CHAT = "/v1/chat/completions"


def is_error(body: Any, code: str | None = None) -> bool:
    """All four keys, `code` a string or null, and the code if one is given."""
    error = body["error"]
    assert body.keys() == {"error"}
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    assert error["code"] is None or isinstance(error["code"], str)
    assert "Traceback" not in error["message"]
    return code is None or error["code"] == code


BAD_BODIES = {
    "nothing": (b"", "invalid_json", None),
    "not json": (b"{'model': 1}", "invalid_json", None),
    "cut off": (b'{"messages":[{"role"', "invalid_json", None),
    "not an object": (b"[1,2]", "invalid_json", None),
    "not utf-8": (b'{"messages":[{"role":"user","content":"\xff\xfe"}]}', "invalid_json", None),
    "too deep": (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", None),
    "no messages": (b'{"model":"triage"}', "missing_required_parameter", "messages"),
    "empty messages": (b'{"messages":[]}', "empty_array", "messages"),
    "messages null": (b'{"messages":null}', "invalid_type", "messages"),
    "messages text": (b'{"messages":"hello"}', "invalid_type", "messages"),
    "model a number": (b'{"messages":[{}],"model":7}', "invalid_type", "model"),
    "stream a word": (b'{"messages":[{}],"stream":"yes"}', "invalid_type", "stream"),
    "odd options": (
        b'{"messages":[{}],"stream":true,"stream_options":[1]}',
        "invalid_type",
        "stream_options",
    ),
}


async def test_bad_bodies_are_refused_before_an_engine_sees_them(
    router: Running, engine: FakeEngine
) -> None:
    for name, (body, code, param) in BAD_BODIES.items():
        status, answer, headers = await router.post(body)
        assert status == 400, name
        assert is_error(answer, code), (name, answer)
        assert answer["error"]["param"] == param, name
        assert headers["x-request-id"].startswith("req_")
    assert engine.asked() == []


async def test_the_sdk_raises_its_own_classes(router: Running, engine: FakeEngine) -> None:
    async with router.client() as client:
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="triage", messages=[])
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nobody", messages=HELLO)
        engine.fail_with = 400
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="triage", messages=HELLO)
        assert refused.value.code is None and "told to fail" in str(refused.value)
        engine.fail_with = 422
        with pytest.raises(openai.UnprocessableEntityError):
            await client.chat.completions.create(model="triage", messages=HELLO)
        engine.fail_with = 503
        with pytest.raises(openai.InternalServerError) as busy:
            await client.chat.completions.create(model="triage", messages=HELLO)
        assert busy.value.code == "engine_unavailable"
        assert busy.value.response.headers["retry-after"] == "1"
    async with router.client(api_key="sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="triage", messages=HELLO)


async def test_keys_that_open_nothing_are_never_repeated(router: Running, world: World) -> None:
    registry = world.registry
    revoked = registry.tenants.create_key("acme")
    registry.tenants.revoke_key(revoked.id)
    expired = registry.tenants.create_key("acme", expires_at=time.time() - 1)
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= registry.revision(),
        "the keys to be known",
    )
    unknown = "sk-sy-" + "0" * 40
    for given in (
        f"Bearer {unknown}",
        f"Bearer {revoked.secret}",
        f"Bearer {expired.secret}",
        "Bearer",
        "Bearer  ",
        f"Basic {world.keys['acme']}",
        world.keys["acme"],
        "Bearer " + "x" * 5000,
        "Bearer sk-\xe9",
    ):
        for path in (CHAT, "/v1/feedback"):
            status, body, headers = await router.post(b"{}", path, authorization=given)
            assert status == 401, given
            assert is_error(body, "invalid_api_key")
            assert headers["www-authenticate"] == "Bearer"
            assert len(given) < 20 or given[7:40] not in str(body)
    status, body, _ = await router.get("/v1/models")
    assert status == 401 and is_error(body, "invalid_api_key")


async def test_unknown_routes_and_methods(router: Running) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/v1/models/", "/metrics", "/docs", "/openapi.json"):
        status, body, headers = await router.get(path)
        assert status in (401, 404), path
        assert is_error(body)
        assert "x-request-id" in headers
    status, body, headers = await router.get(CHAT)
    assert status == 405 and is_error(body, "method_not_supported")
    assert headers["allow"] == "POST"
    status, body, _ = await router.post(b"{}", "/health")
    assert status == 405 and is_error(body, "method_not_supported")


async def test_bodies_over_the_limit_are_refused_declared_or_not(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, max_body_bytes=2000) as router:
        status, body, _ = await router.post(b"x" * 2001)
        assert status == 413 and is_error(body, "request_too_large")

        async def drip() -> Any:
            for _ in range(30):
                yield b"x" * 100

        headers = {"authorization": f"Bearer {world.keys['acme']}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(router.url + CHAT, data=drip(), headers=headers) as response,
        ):
            assert response.status == 413 and is_error(await response.json())


async def test_no_engine_is_a_503_that_says_when_to_come_back(world: World) -> None:
    async with running(world) as router:
        async with router.client() as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="triage", messages=HELLO)
        assert caught.value.status_code == 503 and caught.value.code == "engine_unavailable"
        assert caught.value.response.headers["retry-after"] == "1"
        status, body, _ = await router.get("/ready")
        assert status == 503 and is_error(body)
        status, body, _ = await router.get("/health")
        assert status == 200
        assert router.value("switchyard_errors_total", tenant="acme", code="engine_unavailable")


class Imposter(FakeEngine):
    """Takes any name and answers as the base: what vLLM does with an empty one."""

    def _check_model(self, body: Any) -> None:
        body["model"] = self.base


async def test_an_engine_that_answers_as_another_model_is_an_error(world: World) -> None:
    async with Imposter(api_key=ENGINE_KEY) as engine:
        world.engine(engine)
        async with running(world) as router, router.client() as client:
            for stream in (False, True):
                with pytest.raises(openai.InternalServerError) as caught:
                    await client.chat.completions.create(
                        model="triage", messages=HELLO, stream=stream
                    )
                assert caught.value.code == "served_by_another_model"
                assert caught.value.status_code == 502


async def test_a_wrong_engine_key_is_our_failure_not_the_clients(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, engine_api_key="wrong") as router:
        status, body, _ = await router.post(b'{"messages":[{"role":"user","content":"x"}]}')
        assert status == 502 and is_error(body, "engine_error")
        assert ENGINE_KEY not in str(body) and "wrong" not in str(body)


def test_every_error_says_which_status_type_and_code_it_has() -> None:
    """The tree: no class without a docstring, a 4xx or 5xx, and a code that is not another's."""
    classes = ApiError.__subclasses__()
    seen: dict[str, type[ApiError]] = {}
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        assert cls.__doc__ and 400 <= cls.status < 600
        if cls.code is not None:
            assert seen.setdefault(cls.code, cls) is cls, cls
