from collections.abc import AsyncIterator

import pytest

from serve.client import AdapterUnavailable, EngineClient, EngineError, EngineUnreachable
from tests.fake_engine import FakeEngine
from tests.serve.making import ADAPTER_LOGPROB, BASE, BASE_LOGPROB, KEY, engine

NAME = "triage@0123456789ab"


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    async with engine(adapters={NAME}) as running:
        yield running


@pytest.fixture
async def client(fake: FakeEngine) -> AsyncIterator[EngineClient]:
    async with EngineClient(fake.url, KEY, timeout_s=5) as client:
        yield client


async def test_warming_makes_the_engine_load(fake: FakeEngine, client: EngineClient) -> None:
    milliseconds = await client.warm(NAME)

    assert fake.loaded == [NAME]
    assert milliseconds > 0
    assert fake.asked("/v1/completions")[0]["max_tokens"] == 1


async def test_logprobs_are_those_of_the_tokens_after_the_prompt(client: EngineClient) -> None:
    assert await client.logprobs(NAME, [5, 6, 7, 8], 2) == [ADAPTER_LOGPROB] * 2
    assert await client.logprobs(BASE, [5, 6, 7, 8], 3) == [BASE_LOGPROB]


@pytest.mark.parametrize("prompt_length", [0, 4, 9])
async def test_a_prompt_length_that_leaves_nothing_to_score_is_refused(
    client: EngineClient, prompt_length: int
) -> None:
    with pytest.raises(ValueError, match="prompt_length"):
        await client.logprobs(BASE, [5, 6, 7, 8], prompt_length)


async def test_tokenises_as_the_engine_does(client: EngineClient) -> None:
    assert await client.tokenize([{"role": "user", "content": "hi"}]) == list(b"hi")


async def test_an_adapter_that_nobody_has_is_unavailable(client: EngineClient) -> None:
    with pytest.raises(AdapterUnavailable, match="does not exist") as caught:
        await client.warm("triage@ffffffffffff")

    assert caught.value.name == "triage@ffffffffffff"


async def test_an_adapter_that_does_not_load_is_unavailable(
    fake: FakeEngine, client: EngineClient
) -> None:
    fake.broken.add("triage@ffffffffffff")

    with pytest.raises(AdapterUnavailable, match="found but could not be loaded"):
        await client.warm("triage@ffffffffffff")


async def test_a_wrong_key_is_an_error_that_stays(fake: FakeEngine) -> None:
    async with EngineClient(fake.url, "wrong") as stranger:
        with pytest.raises(EngineError, match="401: Unauthorized") as caught:
            await stranger.warm(NAME)

    assert not caught.value.transient


async def test_a_failing_engine_is_an_error_that_may_pass(
    fake: FakeEngine, client: EngineClient
) -> None:
    fake.fail_with = 500

    with pytest.raises(EngineError) as caught:
        await client.warm(NAME)

    assert caught.value.transient


async def test_a_prompt_that_is_too_long_is_no_fault_of_the_adapter(client: EngineClient) -> None:
    with pytest.raises(EngineError, match="maximum context length"):
        await client.logprobs(NAME, [5] * 2000, 2)


async def test_a_dead_engine_is_unreachable(fake: FakeEngine, client: EngineClient) -> None:
    await fake.die()

    assert not await client.healthy()
    with pytest.raises(EngineUnreachable, match="gave no answer"):
        await client.warm(NAME)


async def test_a_hung_engine_is_unreachable(fake: FakeEngine, client: EngineClient) -> None:
    fake.hang = True

    assert not await client.healthy(0.05)
    with pytest.raises(EngineUnreachable, match=r"nothing within 0\.05 s"):
        await client.warm(NAME, timeout_s=0.05)


async def test_an_unhealthy_engine_is_told_from_a_healthy_one(
    fake: FakeEngine, client: EngineClient
) -> None:
    assert await client.healthy()
    fake.healthy = False
    assert not await client.healthy()
