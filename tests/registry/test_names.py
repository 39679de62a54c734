"""What may be a name, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import Registry
from registry.errors import AlreadyExists, InvalidName, NotFound
from registry.names import check_name, new_id, parse_served_name, served_name

HOSTILE = [
    "",
    "../etc/passwd",
    "..",
    "a/b",
    "a\\b",
    "acme\x00",
    "acme\n",
    "\nacme",
    " acme",
    "Acme",
    "ACME",
    "аcme",  # the first letter is Cyrillic
    "acmé",
    "ａcme",  # full width
    "١٢٣",  # digits, but not ours
    "-acme",
    "a_b",
    "a.b",
    "a@b",
    "a:b",
    "a{b",
    'a"b',
    "a" * 64,
    "'; DROP TABLE tenants; --",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_and_the_error_says_what_is_expected(name: str) -> None:
    with pytest.raises(InvalidName, match="expected 1–63 characters of a–z, 0–9 and '-'"):
        check_name("tenant", name)


@pytest.mark.parametrize("name", ["a", "0", "acme", "acme-2", "a" * 63, "9-lives-"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name("tenant", name) == name


@given(st.text(max_size=70))
def test_whatever_is_taken_is_safe_in_a_path_and_in_a_label(name: str) -> None:
    try:
        check_name("tenant", name)
    except InvalidName:
        return
    assert name.isascii()
    assert 1 <= len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("name", ["../x", "Acme", "acme\x00"])
def test_no_noun_takes_a_hostile_name(registry: Registry, name: str) -> None:
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "switchyard-tiny")
    with pytest.raises(InvalidName):
        registry.tenants.create(name)
    with pytest.raises(InvalidName):
        registry.adapters.create("acme", name, "switchyard-tiny")
    with pytest.raises(InvalidName):
        registry.aliases.ensure("acme", name, "tickets")


@pytest.mark.parametrize("name", ["../x", "acme\x00", "nobody", "a' OR '1'='1"])
def test_a_lookup_by_a_hostile_name_finds_nothing(registry: Registry, name: str) -> None:
    registry.tenants.create("acme")
    for look_up in (
        lambda: registry.tenants.get(name),
        lambda: registry.adapters.get("acme", name),
        lambda: registry.aliases.get(name, "tickets"),
        lambda: registry.versions.find("acme", name),
        lambda: registry.jobs.get(name),
        lambda: registry.files.get("acme", name),
        lambda: registry.exchanges.get("acme", name),
    ):
        with pytest.raises(NotFound):
            look_up()


def test_a_name_can_be_taken_once(registry: Registry) -> None:
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "switchyard-tiny")
    with pytest.raises(AlreadyExists, match="tenant 'acme' exists already"):
        registry.tenants.create("acme")
    with pytest.raises(AlreadyExists, match="adapter 'acme/tickets' exists already"):
        registry.adapters.create("acme", "tickets", "switchyard-tiny")


def test_a_served_name_can_be_read_back() -> None:
    name = served_name("tickets", "0123456789abcdef" * 4)
    assert name == "tickets@0123456789ab"
    assert parse_served_name(name) == ("tickets", "0123456789ab")


@pytest.mark.parametrize(
    "name",
    [
        "tickets",
        "tickets@",
        "tickets@0123456789a",
        "tickets@0123456789abc",
        "t@0123456789AB",
        "../t@0123456789ab",
        "t@0123456789ab\n",
        "@0123456789ab",
        "t@@0123456789ab",
    ],
)
def test_anything_else_is_not_a_served_name(name: str) -> None:
    assert parse_served_name(name) is None


def test_identifiers_do_not_repeat() -> None:
    assert len({new_id("file-") for _ in range(10_000)}) == 10_000
