"""Connections before there is a request: what is no HTTP, what never ends, what wants another
protocol."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.rawhttp import Wire, ask, request
from tests.router.test_errors import is_error

BODY = b'{"model":"triage","messages":[{"role":"user","content":"hello"}]}'
START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)


def two_ways(key: str) -> dict[str, bytes]:
    """Requests that two parsers could read in two ways: what smuggling is made of."""
    head = START + b"Authorization: Bearer %s\r\n" % key.encode()
    length = b"Content-Length: %d\r\n" % len(BODY)
    chunked = b"Transfer-Encoding: chunked\r\n"
    return {
        "length, then chunked": head + length + chunked + b"\r\n" + CHUNKED + b"\r\n",
        "chunked, then length": head + chunked + length + b"\r\n" + CHUNKED + b"\r\n",
        "two lengths": head + length + b"Content-Length: 5\r\n\r\n" + BODY,
        "the same length twice": head + length + length + b"\r\n" + BODY,
        "a list of lengths": head + b"Content-Length: 5, 5\r\n\r\n" + BODY,
        "an empty length": head + b"Content-Length: \r\n\r\n" + BODY,
        "a length with a sign": head + b"Content-Length: +65\r\n\r\n" + BODY,
        "a length in hexadecimal": head + b"Content-Length: 0x41\r\n\r\n" + BODY,
        "a length beyond 64 bits": head + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
        "a space before the colon": head + b"Content-Length : 65\r\n\r\n" + BODY,
        "nearly chunked": head + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED + b"\r\n",
        "chunked, but not last": head
        + b"Transfer-Encoding: chunked, identity\r\n\r\n"
        + CHUNKED
        + b"\r\n",
        "a chunk's size that is none": head + chunked + b"\r\nzz\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a chunk's size beyond 64 bits": head + chunked + b"\r\n" + b"f" * 18 + b"\r\n" + BODY,
        "a folded line": head + length + b"X-A: a\r\n b\r\n\r\n" + BODY,
        "bare line feeds": (head + length + b"\r\n").replace(b"\r\n", b"\n") + BODY,
        "a line feed in a value": head + length + b"X-A: a\nX-B: b\r\n\r\n" + BODY,
        "a carriage return in a value": head + length + b"X-A: a\rX-B: b\r\n\r\n" + BODY,
        "NUL in a value": head + length + b"X-A: a\0b\r\n\r\n" + BODY,
        "a space in a name": head + length + b"X A: b\r\n\r\n" + BODY,
        "no colon": head + length + b"XA\r\n\r\n" + BODY,
    }


async def test_what_could_be_read_in_two_ways_is_refused_in_openais_shape(
    router: Running, engine: FakeEngine
) -> None:
    for name, raw in two_ways(router.world.keys["acme"]).items():
        wire = Wire(router.url)
        await wire.send(raw)
        answer = await wire.read()
        assert answer.status == 400 and is_error(answer.json, "invalid_http"), name
        assert answer.headers["x-request-id"].startswith("req_"), name
        assert answer.headers["connection"] == "close" and await wire.ended(), name
        wire.close()
    assert engine.asked() == []
    counted = router.value("switchyard_errors_total", tenant="none", code="invalid_http")
    assert counted == len(two_ways(""))


async def test_bytes_that_are_no_http_are_refused_in_openais_shape(router: Running) -> None:
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300
    for raw in (
        tls,
        b"\0\xff\xfe\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request(method=b"BREW"),
        request(method=b"CONNECT", path=b"elsewhere:443"),
        request(method=b"GET", path=b"/v1/models/\xc3\xa9"),
        request(method=b"GET", path=b"/v1/models/a b"),
        request(method=b"GET", path=b"/v1/models/" + b"a" * 70_000),
    ):
        answer = await ask(router.url, raw)
        assert answer.status == 400 and is_error(answer.json, "invalid_http"), raw[:60]


async def test_a_wish_for_another_protocol_is_not_granted_and_the_request_served(
    router: Running,
) -> None:
    key = router.world.keys["acme"]
    for wish in (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
        b"Connection: close, upgrade\r\nUpgrade: h2c\r\n",
    ):
        raw = request(BODY, key, headers=wish)
        for cut in (len(raw) - len(BODY), len(raw) - 10, 40):  # however it is cut
            wire = Wire(router.url)
            await wire.send(raw[:cut])
            await asyncio.sleep(0)
            await wire.send(raw[cut:])
            answer = await wire.read()
            assert answer.status == 200, (wish, cut, answer)
            assert answer.json["choices"][0]["message"]["content"].endswith("hello")
            assert ("close" in answer.headers.get("connection", "")) == (b"close" in wish)
            if b"close" not in wish:  # and the connection goes on
                await wire.send(request(BODY, key))
                assert (await wire.read()).status == 200
            wire.close()


async def test_fields_behind_a_body_are_not_the_heads(router: Running) -> None:
    key = router.world.keys["acme"].encode()
    raw = START + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED
    answer = await ask(router.url, raw + b"Authorization: Bearer " + key + b"\r\n\r\n")
    assert answer.status == 401 and is_error(answer.json, "invalid_api_key")


async def test_a_head_without_end_is_refused(router: Running) -> None:
    for piece in (b"a" * 4096, b"X-A: a\r\n" * 512):
        wire = Wire(router.url)
        await wire.send(request(headers=b"X-Long: ")[:-2])
        reading = asyncio.create_task(wire.read())  # what comes behind the answer resets it
        for _ in range(200):
            if reading.done():
                break
            await wire.send(piece)
            await asyncio.sleep(0)
        answer = await reading
        assert answer.status == 431 and is_error(answer.json, "headers_too_large")
        wire.close()


async def test_clients_that_keep_waiting_are_ended_and_others_served(
    world: World, engine: FakeEngine
) -> None:
    key = world.keys["acme"]
    async with running(world, head_timeout_s=1, body_timeout_s=1) as router:
        silent, dribbled_head, dribbled_body, unread = (Wire(router.url) for _ in range(4))
        await silent.send(b"")
        await dribbled_head.send(b"POST /v1/chat/completions HTTP/1.1\r\nX-A: ")
        await dribbled_body.send(request(BODY, key)[: -len(BODY)])
        await unread.send(request(b"a" * 10_000)[:-10_000])  # refused for its key, before its body
        assert (await unread.read()).status == 401
        late = asyncio.create_task(dribbled_body.read())
        ends = {wire: asyncio.create_task(wire.ended()) for wire in (silent, dribbled_head, unread)}

        dribbled_bytes = [b"a"] * 20  # fewer than were promised: bytes behind an answer reset it

        async def over() -> bool:
            for wire, end in ((dribbled_head, ends[dribbled_head]), (unread, ends[unread])):
                if not end.done():
                    await wire.send(b"a")
            if not late.done() and dribbled_bytes:
                await dribbled_body.send(dribbled_bytes.pop())
            status, _, _ = await router.post(BODY)
            assert status == 200
            return late.done() and all(end.done() for end in ends.values())

        await until(over, "them to be ended", 30)
        answer = await late
        assert answer.status == 408 and is_error(answer.json, "body_timeout")
        assert answer.headers["connection"] == "close"
        assert await dribbled_body.ended()
        assert all([await end for end in ends.values()])
        for wire in (silent, dribbled_head, dribbled_body, unread):
            wire.close()
    assert all(body["messages"] for body in engine.asked())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_reads_nothing_of_its_answer_does_not_hold_a_place_for_ever(
    world: World, engine: FakeEngine, stream: bool
) -> None:
    engine.answer = lambda _model, _messages: "word " * 400_000
    asked = json.loads(BODY) | {"stream": stream}
    async with running(world, answer_timeout_s=1) as router:
        reader, writer = await asyncio.open_connection(
            *router.url.removeprefix("http://").split(":"), limit=1024
        )
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        writer.write(request(json.dumps(asked).encode(), world.keys["acme"]))
        await until(lambda: len(engine.asked()) == 1, "the engine to be asked")
        await until(lambda: engine.in_flight == 0, "the place to be free", 30)
        await until(lambda: router.value("switchyard_in_flight", tenant="acme") == 0, "its end")
        connections = router.server._uvicorn.server_state.connections
        await until(lambda: not connections, "the connection to be closed", 30)
        writer.transport.abort()
        del reader


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(
    world: World, engine: FakeEngine
) -> None:
    engine.answer = lambda _model, _messages: "word " * 60_000
    asked = json.loads(BODY) | {"stream": True}
    headers = {"authorization": f"Bearer {world.keys['acme']}"}
    async with (
        running(world, answer_timeout_s=1) as router,
        aiohttp.ClientSession(read_bufsize=1024) as session,
        session.post(f"{router.url}/v1/chat/completions", json=asked, headers=headers) as answer,
    ):
        data, paused = b"", 0
        async for piece in answer.content.iter_chunked(65536):
            data += piece
            if len(data) >> 20 > paused and paused < 4:
                paused += 1
                await asyncio.sleep(0.4)  # that it reads slowly is what is tested
        assert paused == 4 and data.endswith(b"data: [DONE]\n\n")
