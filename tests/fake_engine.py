"""A stand-in for vLLM's OpenAI server with the same HTTP interface, for fast tests.

Answers with the shapes, status codes and error bodies of vLLM 0.32; a contract test runs the same
cases against both. Knows no model: the text of an answer is `answer(model, messages)`, logprobs are
a hash. It can be told to misbehave (`die`, `hang`, `break_stream_after`, `slow_ms`, `fail_with`,
`give_up`), and works on as many requests and adapters at once as `slots` says.

    async with FakeEngine(adapters={"triage@0123456789ab"}) as engine:
        ... engine.url ... engine.requests ...

    python -m tests.fake_engine --port 8100 --adapter triage@0123456789ab
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests import fake_shapes
from tests.fake_shapes import Json
from tests.fake_slots import Slots
from tests.fake_streams import ChatChunks, ResponseEvents, TextChunks

BODY: web.RequestKey[Json] = web.RequestKey("body", dict)
GUARDED = ("/v1", "/v2", "/inference", "/cohere")  # vLLM checks the key on these prefixes only


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def echo(model: str, messages: list[Json]) -> str:
    """The default answer: who answers, and the last message."""
    content = messages[-1].get("content") if messages else ""
    return f"{model} says: {content}"


@dataclass
class FakeEngine:
    """A vLLM that is none. Attributes may be changed while it runs.

    `adapters`: names that its resolver would find. `broken`: names that it finds and can't load.
    `loaded`: what `/v1/models` lists besides the base. `base_shift`/`adapter_shift`: what is added
    to each made-up logprob of the base and of adapters.
    """

    base: str = "switchyard-tiny"
    adapters: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    api_key: str | None = None
    max_model_len: int = 1024
    host: str = "127.0.0.1"
    port: int = 0
    answer: Callable[[str, list[Json]], str] = echo
    logprob: Callable[[str, list[int], int], float] | None = None
    tokens: Callable[[list[Json]], list[int]] | None = None

    hang: bool = False
    """Accept requests and never answer (also /health)."""
    slow_ms: float = 0.0
    """Milliseconds before an answer's first byte, and between a stream's chunks."""
    break_stream_after: int | None = None
    """Cut the connection after so many chunks of content."""
    fail_with: int | None = None
    """Answer every model request with this status."""
    give_up: bool = False
    """Finish with the reason "abort", as an engine that is stopped does."""
    healthy: bool = True
    embeds: bool = False
    """Whether it has /v1/embeddings: an engine that generates has not."""
    slots: Slots = field(default_factory=Slots)

    requests: list[Received] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    answered: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    """Of chats, as the metrics tell them."""
    in_flight: int = 0
    most_in_flight: int = 0
    aborts: int = 0
    """Requests whose client left before they were answered."""

    def __post_init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    # Life

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def start(self) -> None:
        """Listen; the port is kept, so that an engine that died comes back at its address."""
        self._stopping = asyncio.Event()
        app = web.Application(middlewares=[self._middleware])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/responses", self._responses)
        if self.embeds:
            app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/tokenize", self._tokenize)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        if self.port == 0:
            assert self._runner.addresses
            self.port = self._runner.addresses[0][1]

    async def die(self) -> None:
        """Drop every connection at once and stop listening, as a killed process would."""
        self._stopping.set()
        self.loaded.clear()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for connection in list(runner.server.connections if runner.server else ()):
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    def asked(self, path: str = "/v1/chat/completions") -> list[Json]:
        """Bodies received on a path, oldest first."""
        return [request.body for request in self.requests if request.path == path]

    # HTTP

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = None
        if request.method == "POST":
            raw = await request.read()
            try:
                body = json.loads(raw)
            except ValueError:
                body = raw
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Received(request.method, request.path, headers, body))
        guarded = self.api_key and request.path.startswith(GUARDED)
        if guarded and headers.get("authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if request.method == "POST" and not isinstance(body, dict):
            return fake_shapes.error(
                400, "1 validation error:\n  json_invalid", "Bad Request", "body"
            )
        request[BODY] = body
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.hang:
                await self._stopping.wait()
                return web.Response(status=503)  # nobody reads it: the connection is gone
            response: web.StreamResponse = await handler(request)
            return response
        except web.HTTPException as error:  # what FastAPI says when vLLM has no such route
            return web.json_response({"detail": error.reason}, status=error.status)
        except (asyncio.CancelledError, ConnectionResetError):
            self.aborts += not self._stopping.is_set()
            raise
        finally:
            self.in_flight -= 1

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _models(self, _request: web.Request) -> web.Response:
        data = [fake_shapes.card(self.base, None, self.max_model_len)]
        data += [fake_shapes.card(name, self.base, None) for name in self.loaded]
        return web.json_response({"object": "list", "data": data})

    async def _metrics(self, _request: web.Request) -> web.Response:
        values = {
            "num_requests_running": self.slots.running,
            "num_requests_waiting": len(self.slots.waiting),
            "kv_cache_usage_perc": min(1.0, self.slots.running / 100),
            "prompt_tokens_total": self.tokens_read,
            "generation_tokens_total": self.tokens_written,
        }
        for stage in ("queue", "prefill", "decode"):
            values[f"request_{stage}_time_seconds_sum"] = self.answered * self.slow_ms / 1000
            values[f"request_{stage}_time_seconds_count"] = self.answered
        labels = f'{{engine="0",model_name="{self.base}"}}'
        lines = [f"vllm:{name}{labels} {float(value)}\n" for name, value in values.items()]
        return web.Response(text="".join(lines))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: Json = request[BODY]
        if not isinstance(body.get("messages"), list):
            return fake_shapes.missing("messages")
        refused = self._check_model(body)
        if refused is not None:
            return refused
        model = body.get("model") or self.base
        messages: list[Json] = body["messages"]
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if limit is not None and limit > self.max_model_len:
            message = f"max_tokens={limit} cannot be greater than max_model_len"
            return fake_shapes.error(400, message, "BadRequestError", "max_tokens")
        words, finish = self._said(model, messages, limit)
        count = body.get("n") or 1
        tokens = count * (len(words) + (finish == "stop"))
        usage = fake_shapes.usage(len(self._token_ids(messages)), tokens)
        self.answered += 1
        self.tokens_read += usage["prompt_tokens"]
        self.tokens_written += usage["completion_tokens"]
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        async with self.slots.place(self._adapter(model)):
            await self._wait()
            if body.get("stream"):
                chunks = ChatChunks(head, count, words, finish, usage)
                return await self._stream(
                    request, chunks.first(), chunks.steps(), chunks.last(body)
                )
        choices = [fake_shapes.chat_choice(n, "".join(words), finish) for n in range(count)]
        if body.get("logprobs"):
            ids = self._token_ids(messages)
            values = [self._logprob(model, ids, at % len(ids)) for at in range(len(words))]
            for choice in choices:
                choice["logprobs"] = fake_shapes.chat_logprobs(words, values)
        return web.json_response(
            {**head, "object": "chat.completion", "choices": choices, "usage": usage}
        )

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body: Json = request[BODY]
        prompt = body.get("prompt")
        if prompt is None:
            return fake_shapes.missing("prompt")
        refused = self._check_model(body)
        if refused is not None:
            return refused
        model = body.get("model") or self.base
        ids = list(prompt) if isinstance(prompt, list) else list(prompt.encode())
        limit = body.get("max_tokens") or 16
        if len(ids) + limit > self.max_model_len:
            return fake_shapes.error(
                400,
                f"This model's maximum context length is {self.max_model_len} tokens.",
                "BadRequestError",
                "input_tokens",
            )
        head = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        usage = fake_shapes.usage(len(ids), limit)
        finish = "abort" if self.give_up else "length"
        async with self.slots.place(self._adapter(model)):
            await self._wait()
            if body.get("stream"):
                chunks = TextChunks(head, 1, ["x"] * limit, finish, usage)
                return await self._stream(request, [], chunks.steps(), chunks.last(body))
        choice = fake_shapes.text_choice("x" * limit, finish_reason=finish)
        if body.get("prompt_logprobs") is not None:
            found = [self._logprob(model, ids, position) for position in range(1, len(ids))]
            choice["prompt_logprobs"] = fake_shapes.prompt_logprobs(ids, found)
        return web.json_response(
            {**head, "object": "text_completion", "choices": [choice], "usage": usage}
        )

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body: Json = request[BODY]
        if body.get("input") is None:
            return fake_shapes.missing("input")
        refused = self._check_model(body)
        if refused is not None:
            return refused
        model = body.get("model") or self.base
        given = body["input"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
        words, finish = self._said(model, messages, body.get("max_output_tokens"))
        events = ResponseEvents(body, model, words, finish, len(self._token_ids(messages)))
        async with self.slots.place(self._adapter(model)):
            await self._wait()
            if body.get("stream"):
                return await self._stream(request, events.first(), events.steps(), events.last())
        return web.json_response(events.whole())

    async def _embeddings(self, request: web.Request) -> web.Response:
        body: Json = request[BODY]
        refused = self._check_model(body)
        if refused is not None:
            return refused
        given = body["input"] if isinstance(body["input"], list) else [body["input"]]
        await self._wait()
        model = body.get("model") or self.base
        return web.json_response(fake_shapes.embeddings(model, len(given), len(str(given))))

    async def _stream(
        self,
        request: web.Request,
        first: Sequence[bytes],
        words: Sequence[bytes],
        last: Sequence[bytes],
    ) -> web.StreamResponse:
        """Events, one write each. `words`: the events of one step of generation each."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in first:
            await response.write(event)
        for number, event in enumerate(words):
            if self.break_stream_after is not None and number >= self.break_stream_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            await self._wait()
            await response.write(event)
        for event in last:
            await response.write(event)
        await response.write_eof()
        return response

    async def _tokenize(self, request: web.Request) -> web.Response:
        body: Json = request[BODY]
        refused = self._check_model(body)
        if refused is not None:
            return refused
        prompt = list(str(body.get("prompt", "")).encode())
        ids = self._token_ids(body["messages"]) if "messages" in body else prompt
        body = {"count": len(ids), "max_model_len": self.max_model_len}
        return web.json_response(body | {"tokens": ids, "token_strs": None})

    # What a model would do

    def _check_model(self, body: Json) -> web.Response | None:
        """vLLM: an empty name is the base; an unknown one is asked of the resolver."""
        if self.fail_with is not None:
            return fake_shapes.error(self.fail_with, "told to fail", "InternalServerError", None)
        name = body.get("model")
        if not name or name == self.base or name in self.loaded:
            return None
        if name in self.broken:
            message = f"LoRA adapter '{name}' was found but could not be loaded."
            return fake_shapes.error(400, message, "BadRequestError", None)
        if name in self.adapters:
            self.loaded.append(name)
            return None
        message = f"The model `{name}` does not exist. Valid aliases: {self.base}."
        return fake_shapes.error(404, message, "NotFoundError", "model")

    def _said(self, model: str, messages: list[Json], limit: int | None) -> tuple[list[str], str]:
        """The words of the answer, and why it ends."""
        words = fake_shapes.words(self.answer(model, messages))
        if self.give_up:
            return words, "abort"
        if limit is not None and len(words) > limit:
            return words[:limit], "length"
        return words, "stop"

    def _adapter(self, model: str) -> str | None:
        return None if model == self.base else model

    def _token_ids(self, messages: list[Json]) -> list[int]:
        if self.tokens is not None:
            return self.tokens(messages)
        return list("".join(str(m.get("content")) for m in messages).encode())

    def _logprob(self, model: str, ids: list[int], position: int) -> float:
        if self.logprob is not None:
            return self.logprob(model, ids, position)
        text = f"{model}:{ids[: position + 1]}".encode()
        return -4.0 * hashlib.sha256(text).digest()[0] / 255

    async def _wait(self) -> None:
        if self.slow_ms:
            await asyncio.sleep(self.slow_ms / 1000)


async def _serve(engine: FakeEngine) -> None:
    async with engine:
        print(engine.url, flush=True)
        await asyncio.Event().wait()


def main(arguments: Iterable[str] | None = None) -> None:
    """Run until killed; prints the URL once it listens."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--base", default="switchyard-tiny")
    parser.add_argument("--api-key")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--slow-ms", type=float, default=0.0)
    options = parser.parse_args(None if arguments is None else [*arguments])
    engine = FakeEngine(
        base=options.base,
        adapters=set(options.adapter),
        api_key=options.api_key,
        port=options.port,
        slow_ms=options.slow_ms,
    )
    asyncio.run(_serve(engine))


if __name__ == "__main__":
    main()
