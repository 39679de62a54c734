"""Files by the openai SDK: what is uploaded comes back, and nobody else sees it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from registry import Registry
from registry.store import Store
from router.errors import Missing
from router.tuning import files, jobs, shape
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running
from tests.router.tuning.making import chat_lines, preference_lines


async def test_an_upload_is_told_listed_read_and_deleted(router: Running) -> None:
    data = chat_lines(200)
    async with router.client() as client:
        file = await client.files.create(file=("täglich.jsonl", data), purpose="fine-tune")
        assert (file.object, file.bytes, file.status) == ("file", len(data), "processed")
        assert (file.filename, file.purpose) == ("täglich.jsonl", "fine-tune")
        assert (await client.files.retrieve(file.id)).id == file.id
        assert (await client.files.content(file.id)).content == data
        deleted = await client.files.delete(file.id)
        assert (deleted.id, deleted.deleted) == (file.id, True)
        with pytest.raises(openai.NotFoundError) as raised:
            await client.files.content(file.id)
    assert raised.value.code == "not_found"


async def test_a_list_is_paged_in_both_orders(router: Running) -> None:
    async with router.client() as client:
        ids = [
            (await client.files.create(file=("a.jsonl", chat_lines(n)), purpose="fine-tune")).id
            for n in (1, 2, 3)
        ]
        assert [file.id async for file in client.files.list(limit=2)] == ids[::-1]
        assert [file.id async for file in client.files.list(limit=1, order="asc")] == ids
        first = await client.files.list(limit=2, order="asc")
        assert first.has_more and len(first.data) == 2
        assert not (await client.files.list(purpose="batch")).data
        with pytest.raises(openai.NotFoundError):
            await client.files.list(after="file-unknown")
        with pytest.raises(openai.BadRequestError) as raised:
            await client.files.list(limit=0)
    assert raised.value.param == "limit"


async def test_another_tenants_file_looks_like_none(router: Running) -> None:
    async with router.client() as acme, router.client("lex") as lex:
        file = await acme.files.create(file=("a.jsonl", chat_lines()), purpose="fine-tune")
        said = []
        for file_id in (file.id, "file-unknown"):
            with pytest.raises(openai.NotFoundError) as raised:
                await lex.files.retrieve(file_id)
            said.append(str(raised.value.body).replace(file_id, "ID"))
        assert said[0] == said[1]
        assert not (await lex.files.list()).data
        with pytest.raises(openai.NotFoundError):
            await lex.files.delete(file.id)


@pytest.mark.parametrize("purpose", ["batch", "assistants", "user_data", "evals", "vision"])
async def test_a_purpose_of_no_use_is_refused(router: Running, purpose: Any) -> None:
    async with router.client() as client:
        with pytest.raises(openai.BadRequestError, match="expected 'fine-tune'") as raised:
            await client.files.create(file=("a.jsonl", chat_lines()), purpose=purpose)
    assert raised.value.param == "purpose"


ANSWER = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "holds no examples"),
        (b"\n \n", "holds no examples"),
        (ANSWER + b"{nonsense\n", "Line 2: it is not one JSON object"),
        (ANSWER + b"[]\n", "Line 2: it is not a JSON object"),
        (b"\xff\n", "Line 1: it is not UTF-8"),
        (b'{"text": 1}\n', "Line 1: expected"),
        (b'{"messages": []}\n', "Line 1: messages is not a list"),
        (b'{"messages": [{"role": "user"}]}\n', "the last of messages is not the assistant's"),
        (b'{"preferred_output": [], "input": {}}\n', "Line 1: input.messages is not a list"),
    ],
)
async def test_a_file_of_another_shape_is_refused_by_its_line(
    router: Running, data: bytes, why: str
) -> None:
    async with router.client() as client:
        with pytest.raises(openai.BadRequestError, match=why) as raised:
            await client.files.create(file=("a.jsonl", data), purpose="fine-tune")
        assert raised.value.code == "invalid_file_format"
        assert not (await client.files.list()).data


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_id_that_no_column_holds_is_unknown(registry: Registry) -> None:
    for find in (files.find, jobs.find):
        with pytest.raises(Missing):
            find(registry, "acme", "file-\0")


async def test_a_cursor_that_no_column_holds_is_refused(router: Running) -> None:
    async with router.client() as client:
        for name in ("after", "purpose"):
            with pytest.raises(openai.BadRequestError) as raised:
                await client.files.list(**{name: "\0"})
            assert raised.value.param == name


async def test_pairs_and_prompts_are_taken_too(router: Running) -> None:
    pairs = json.dumps({"prompt": "a", "completion": "b"}).encode()
    async with router.client() as client:
        for data in (preference_lines(), pairs, b"\xef\xbb\xbf" + ANSWER):
            await client.files.create(file=("a.jsonl", data), purpose="fine-tune")


async def test_only_the_first_lines_are_looked_at(router: Running) -> None:
    async with router.client() as client:
        data = ANSWER * shape.LINES + b"what the audit finds\n"
        await client.files.create(file=("a.jsonl", data), purpose="fine-tune")


async def test_more_than_the_limit_is_refused(world: World, engine: FakeEngine) -> None:
    async with running(world, max_upload_bytes=200_000) as router, router.client() as client:
        for size in (200_001, 400_000):  # told by the file's size, and by the body's
            with pytest.raises(openai.APIStatusError) as raised:
                await client.files.create(file=("a.jsonl", b"\n" * size), purpose="fine-tune")
            assert (raised.value.status_code, raised.value.code) == (413, "request_too_large")


async def test_what_is_no_multipart_body_is_refused(router: Running) -> None:
    status, body, _ = await router.post(b"{}", "/v1/files")
    assert (status, body["error"]["code"]) == (400, "invalid_type")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    status, body, _ = await router.post(b"nonsense", "/v1/files", **kind)
    assert (status, body["error"]["code"]) == (400, "invalid_multipart")
    only = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b--\r\n'
    status, body, _ = await router.post(only, "/v1/files", **kind)
    assert (status, body["error"]["param"]) == (400, "file")


async def test_content_that_was_damaged_is_not_handed_out_as_whole(router: Running) -> None:
    registry = router.world.registry
    async with router.client() as client:
        file = await client.files.create(file=("a.jsonl", chat_lines()), purpose="fine-tune")
        row = registry.files.get("acme", file.id)
        store: Store = registry.store
        path = store.url.removeprefix("file://") + f"/blobs/{row.digest}"
        with open(path, "r+b") as blob:
            blob.write(b"x")
        with pytest.raises(openai.OpenAIError):
            await client.files.content(file.id)
