"""Hostile requests, by the thousand: what each looks like on the wire, nothing about answers.

Deterministic: a seed gives the same ones again, so that what failed once can be sent once more.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from router.fields import CHAT, EMBEDDINGS, REFUSED, RESPONSES, STRIPPED, TEXT
from tests.router.rawhttp import request
from tests.router.test_reception import two_ways

PROMPT = "prompt-canary-7f3a"
"""In every prompt: may be in no log, metric or error."""
WRONG = "sk-sy-wrong-canary-91c2"
"""In every key that opens nothing: the same."""
GOOD = {"messages": [{"role": "user", "content": PROMPT}]}
PATHS = {
    b"/v1/chat/completions": (CHAT, GOOD),
    b"/v1/completions": (TEXT, {"prompt": PROMPT, "max_tokens": 2}),
    b"/v1/responses": (RESPONSES, {"input": PROMPT}),
    b"/v1/embeddings": (EMBEDDINGS, {"input": PROMPT}),
}
ODD: tuple[bytes, ...] = (
    b"null", b"true", b"[]", b"{}", b'""', b"0", b"-1", b"1.5", b"1e400", b"-1e400", b"NaN",
    b"Infinity", b"9" * 400, b"18446744073709551616", b"[[[[[[]]]]]]", b'"\\u0000"',
    b'"\\ud800"', b'{"":""}', b'["a",1,null]', b'"\xff"', b'{"a":' * 600 + b"1" + b"}" * 600,
)  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """A request and what has to be known to judge its answer."""

    theme: str
    raw: bytes
    tenant: str | None = None
    """Whose key it carries, if a good one."""
    may_end: bool = False
    """Whether no answer at all is one: its head may never end."""


@dataclass
class Arsenal:
    """`keys` by tenant; `names`: everything that means something to somebody."""

    keys: dict[str, str]
    names: list[str]
    random: random.Random = field(default_factory=lambda: random.Random(20260101))

    def all(self) -> Iterator[Attack]:
        """Every theme but the random one, then that one without end."""
        yield from self.models()
        yield from self.bodies()
        yield from self.heads()
        yield from self.routes()
        yield from self.feedback()
        yield from self.large()
        while True:
            yield self.mutation()

    def models(self) -> Iterator[Attack]:
        """Names of others, and names that look like somebody's."""
        for tenant, key in self.keys.items():
            for name in self.names:
                for odd in disguises(name):
                    body = json.dumps(GOOD | {"model": odd}).encode()
                    yield Attack("model", request(body, key), tenant)
                    path = b"/v1/models/" + quoted(odd)
                    yield Attack("model", request(method=b"GET", path=path, key=key), tenant)
        for tenant, key in self.keys.items():
            for odd in ("x" * 1_000_000, "../" * 100_000, "\u202e" * 50_000, "'; DROP TABLE x--"):
                body = json.dumps(GOOD | {"model": odd}).encode()
                yield Attack("model", request(body, key), tenant)

    def bodies(self) -> Iterator[Attack]:
        """Every field of every endpoint with values that it can't have; JSON that is none."""
        tenants = list(self.keys)
        for path, (fields, good) in PATHS.items():
            for name in sorted(fields | STRIPPED.keys() | REFUSED.keys()):
                for odd in ODD:
                    body = _with(good, name, odd)
                    tenant = tenants[self.random.randrange(len(tenants))]
                    yield Attack("field", request(body, self.keys[tenant], path=path), tenant)
        whole = json.dumps(GOOD).encode()
        strange = [whole[:end] for end in range(len(whole))]
        strange += [
            b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), b"\0" + whole, whole + b"\0",
            whole + whole, b"[" * 200_000, b'{"a":' * 100_000, b'{"messages":' + b"[" * 50_000,
            whole[:-1] + b',"messages":[]}', b'{"model":"a","model":"b",' + whole[1:],
            b'{"messages":[{"role":"user","content":"' + b"\\u0000" * 9000 + b'"}]}',
            b"--x\r\nContent-Disposition: form-data; name=model\r\n\r\ntriage\r\n--x--\r\n",
            b"model=triage&messages=hello", b"<?xml version='1.0'?><a/>",
        ]  # fmt: skip
        for tenant, key in self.keys.items():
            for body in strange:
                yield Attack("json", request(body, key), tenant)

    def heads(self) -> Iterator[Attack]:
        """Keys that open nothing, header lines that would inject, requests read in two ways."""
        body = json.dumps(GOOD).encode()
        for key in bad_keys(self.keys):
            for path in (*PATHS, b"/v1/feedback"):
                yield Attack("key", request(body, key, path=path))
            yield Attack("key", request(method=b"GET", key=key, path=b"/v1/models"))
        for tenant, key in self.keys.items():
            for name in HEADERS:
                for value in VALUES:
                    line = name + b": " + value + b"\r\n"
                    yield Attack("header", request(body, key, headers=line), tenant)
            for raw in two_ways(key).values():
                yield Attack("smuggling", raw, tenant)

    def routes(self) -> Iterator[Attack]:
        """Paths and methods that are not there, or are written in another way."""
        body = json.dumps(GOOD).encode()
        for tenant, key in self.keys.items():
            for path in ROUTES:
                for method in METHODS:
                    raw = request(body, key, method=method, path=path)
                    yield Attack("route", raw, tenant)
        for path in ROUTES:  # keys where none belongs
            raw = request(method=b"GET", path=path + b"?api_key=" + WRONG.encode())
            yield Attack("query", raw)

    def feedback(self) -> Iterator[Attack]:
        """Feedback for what isn't one's own, or of the wrong shape."""
        for tenant, key in self.keys.items():
            for name in ("completion_id", "rating", "label", "correction", "messages"):
                for odd in ODD:
                    good = {"completion_id": "chatcmpl-" + "0" * 32, "rating": 1}
                    raw = request(_with(good, name, odd), key, path=b"/v1/feedback")
                    yield Attack("feedback", raw, tenant)

    def large(self) -> Iterator[Attack]:
        """Bodies beyond the limit, declared and not; packed ones."""
        for tenant, key in self.keys.items():
            declared = b"Content-Length: 999999999999\r\n"
            head = request(key=key).replace(b"Content-Length: 0\r\n", declared)
            yield Attack("large", head, tenant)
            chunked = b"Transfer-Encoding: chunked\r\n"
            head = request(key=key).replace(b"Content-Length: 0\r\n", chunked)
            yield Attack("large", head + b"100000\r\n%s\r\n" % (b" " * (1 << 20)) * 9, tenant)
            for packed in (b"gzip", b"br", b"deflate", b"gzip, gzip", b"x" * 500):
                line = b"Content-Encoding: " + packed + b"\r\n"
                raw = request(b"\x1f\x8b\x08\0" + b"\0" * 500, key, headers=line)
                yield Attack("packed", raw, tenant)

    def mutation(self) -> Attack:
        """A good request with some bytes changed, left out or put in, anywhere but in its key."""
        choose = self.random
        tenant = choose.choice([*self.keys])
        path, (_, good) = choose.choice([*PATHS.items()])
        name = choose.choice(self.names)
        body = json.dumps(good | {"model": name, "stream": choose.random() < 0.3}).encode()
        raw = bytearray(request(body, b"@KEY@", path=path))
        for _ in range(choose.choice((1, 1, 2, 5))):
            at = choose.randrange(len(raw))
            what = choose.randrange(3)
            if what == 0:
                raw[at] = choose.randrange(256)
            elif what == 1:
                del raw[at]
            else:
                raw[at:at] = choose.choice((b"\0", b"\r\n", b"\n", b"%00", b'"', b"\xff", b"{" * 9))
        key = self.keys[tenant].encode()
        return Attack("mutation", bytes(raw).replace(b"@KEY@", key), tenant, may_end=True)


def disguises(name: str) -> Iterator[str]:
    """A name as it is, and in clothes."""
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    assert unicodedata.normalize("NFKC", wide) == name
    yield from (
        name, wide, name.upper(), name + "\0", "\0" + name, name[:3] + "\u200b" + name[3:],
        "\ufeff" + name, name + " ", "\t" + name, name + "\r\nx-injected: yes", "../" + name,
        "..%2f" + name, "/" + name, "./" + name, name + "/../" + name, name.replace("a", "\u0430"),
        name.replace("i", "\u0456"), name + "\u0301", name[:-1], name + "0", name + "@" + "0" * 12,
        "acme/" + name, "acme:" + name, "lex/" + name, name.replace("@", "%40"), name + "\ud800",
        "file:///" + name, "\u202e" + name[::-1], name + "#", name + "?" + name,
    )  # fmt: skip


def bad_keys(keys: dict[str, str]) -> Iterator[bytes]:
    """Keys that open nothing, by shape, length and alphabet; and halves of good ones."""
    yield from (b"", b" ", WRONG.encode(), WRONG.encode() * 50, b"sk-", b"null", b"undefined")
    yield from (b"\xff" * 40, b"\xc3\xa9" * 20, WRONG.encode() + b"\xe2\x80\x8b", b"Bearer x")
    yield from (b"a,b", b'"' + WRONG.encode() + b'"', b"' OR 1=1 --", b"{}", b"x" * 60_000)
    for key in keys.values():
        good = key.encode()
        yield from (good[:-1], good + b"x", good.upper(), good[::-1], good[:20], good + b"," + good)
        yield good.replace(b"s", b"\xef\xbd\x93", 1)


HEADERS = (
    b"traceparent", b"tracestate", b"x-request-id", b"x-switchyard-asked", b"x-switchyard-tenant",
    b"x-switchyard-version", b"x-switchyard-conversation", b"x-stainless-read-timeout",
    b"x-forwarded-for", b"x-forwarded-host", b"forwarded", b"host", b"content-type", b"accept",
    b"expect", b"openai-organization", b"idempotency-key", b"cookie", b"range", b"te", b"trailer",
    b"x-http-method-override", b"x-original-url", b"proxy-authorization", b"via",
)  # fmt: skip
VALUES = (
    b"", b"x" * 5000, b"\xff\xfe", b"\xe2\x80\xae", b"a\tb", b"a\0b", b"a\rb", b"a\nx-injected: 1",
    b"%0d%0ax-injected: 1", b"00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-01",
    b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-ff", b"-1", b"9" * 400, b"100-continue",
    b"../../etc/passwd", b"${jndi:ldap://x}", b"acme", b"lex",
)  # fmt: skip
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"PATCH", b"BREW")
ROUTES = (
    b"/", b"//", b"//v1/chat/completions", b"/v1/../v1/models", b"/v1/%2e%2e/v1/models", b"/v1",
    b"/v1//models", b"/v1/models/", b"/v1/models/..%2f..%2fmetrics", b"/v1%2fmodels", b"/metrics",
    b"/V1/MODELS", b"/v1/models;x=1", b"/v1/models%00", b"/v1/models%0d%0ax-injected:%201",
    b"/v1/models/%ff%fe", b"/v1/models/%ed%a0%80", b"/docs", b"/redoc", b"/openapi.json", b"/admin",
    b"/v1/tenants", b"/v1/keys", b"/adapters", b"/v1/load_lora_adapter", b"/tokenize", b"/v1/files",
    b"/v1/fine_tuning/jobs", b"/.env", b"/etc/passwd", b"/v1/responses/x", b"/v1/responses/%2e",
    b"/v1/responses/x/cancel", b"/v1/responses/x/input_items", b"/health/", b"/ready/..", b"*",
    b"/v1/chat/completions/", b"/v1/chat%2fcompletions", b"/v1/chat/completions?x=%00",
    b"http://elsewhere/v1/models", b"/v1/engines/triage/completions", b"/" + b"a" * 5000,
)  # fmt: skip


def quoted(name: str) -> bytes:
    """A name in a path: every byte that isn't a letter, escaped."""
    raw = name.encode("utf-8", "surrogatepass")
    return b"".join(b"%c" % c if chr(c).isalnum() and c < 128 else b"%%%02x" % c for c in raw)


def _with(good: dict[str, object], name: str, raw: bytes) -> bytes:
    """The body with one field's value as raw bytes."""
    rest = {key: value for key, value in good.items() if key != name}
    inner = json.dumps(rest).encode()[1:-1]
    return b"{" + inner + (b"," if inner else b"") + b'"%s":%s}' % (name.encode(), raw)
