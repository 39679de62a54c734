"""Whether a client is known by its headers, and nothing else of them is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.client import LONGEST, client


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("OpenAI/Python 2.3.0", "OpenAI/Python 2.3.0"),
        ("AsyncOpenAI/Python 3.54.0rc1", "AsyncOpenAI/Python 3.54.0rc1"),
        ("OpenAI/JS 5.12.2", "OpenAI/JS 5.12.2"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("python-requests/2.32.3", "python-requests/2.32.3"),
        ("Go-http-client/1.1", "Go-http-client/1.1"),
        ("node", "node"),
        ("litellm/1.106.0-beta.2 (host-17)", "litellm/1.106.0-beta.2"),
        ("Mozilla/5.0 (X11; Linux x86_64; alice) Firefox/140.0", "Mozilla/5.0"),
        ("my-app/alice@example.com", "my-app"),
        ("my-app/3f9c2ab17d", "my-app"),
        ("my-app/123456789012", "my-app"),
        ("my-app/1.2.3-alice", "my-app"),
        ("", None),
        ("alice@example.com"[5:], None),
        ("/1.0", None),
    ],
)
def test_of_an_agent_only_product_and_version_are_kept(agent: str, said: str | None) -> None:
    assert client(agent.encode()) == said


def test_a_library_is_known_behind_another_products_name() -> None:
    assert client(b"shop/7 (eu)", b"python", b"2.3.0") == "shop/7 (library: python 2.3.0)"
    assert client(b"", b"js", b"5.12.2") == "(library: js 5.12.2)"
    assert client(b"OpenAI/Python 2.3.0", b"python", b"2.3.0") == "OpenAI/Python 2.3.0"
    assert client(b"shop/7", b"alice's", b"2.3.0") == "shop/7"
    assert client(b"shop/7", b"python", b"2.3.0; token=s3cret") == "shop/7"


@given(st.binary(max_size=400), st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_is_sent_the_name_is_short_and_plain(a: bytes, b: bytes, c: bytes) -> None:
    said = client(a, b, c)
    assert said is None or (0 < len(said) <= LONGEST and said.isascii() and said.isprintable())
