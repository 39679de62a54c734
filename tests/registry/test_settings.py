"""Settings: every error at once, and no secret in any of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry.settings import SettingsError, load


@dataclass(frozen=True)
class Demo:
    name: str
    port: int = field(default=8080, metadata={"range": (1, 65535)})
    ratio: float = field(default=0.5, metadata={"range": (0.0, 1.0)})
    mode: str = field(default="cpu", metadata={"choices": ("cpu", "gpu")})
    quiet: bool = False
    folder: Path = Path("here")
    limit: int | None = None
    api_key: str = ""
    slots: int = 4
    steps: int = field(default=1, metadata={"range": (1, 9)})

    def __post_init__(self) -> None:
        if self.slots > self.port:
            raise ValueError(f"slots ({self.slots}) must not be above port ({self.port})")


def test_defaults_hold_where_nothing_is_said() -> None:
    assert load(Demo, "DEMO_", {"DEMO_NAME": "a", "PATH": "/bin"}) == Demo(name="a")


def test_every_type_is_read() -> None:
    environ = {
        "DEMO_NAME": "=a b=",
        "DEMO_PORT": "1",
        "DEMO_RATIO": "1e-1",
        "DEMO_MODE": "gpu",
        "DEMO_QUIET": "Yes",
        "DEMO_FOLDER": "/srv/data",
        "DEMO_LIMIT": "7",
        "DEMO_SLOTS": "1",
    }
    expected = Demo(
        name="=a b=",
        port=1,
        ratio=0.1,
        mode="gpu",
        quiet=True,
        folder=Path("/srv/data"),
        limit=7,
        slots=1,
    )
    assert load(Demo, "DEMO_", environ) == expected


@pytest.mark.parametrize(
    ("raw", "value"),
    [("true", True), ("1", True), ("ON", True), ("false", False), ("0", False), ("No", False)],
)
def test_a_truth_value_has_several_spellings(raw: str, value: bool) -> None:
    assert load(Demo, "DEMO_", {"DEMO_NAME": "a", "DEMO_QUIET": raw}).quiet is value


def test_an_empty_value_is_none_where_there_may_be_none() -> None:
    assert load(Demo, "DEMO_", {"DEMO_NAME": "a", "DEMO_LIMIT": ""}).limit is None


def test_all_errors_are_reported_together_with_key_value_and_expectation() -> None:
    with pytest.raises(SettingsError) as error:
        load(
            Demo,
            "DEMO_",
            {
                "DEMO_PORT": "70000",
                "DEMO_RATIO": "much",
                "DEMO_MODE": "tpu",
                "DEMO_QUIET": "maybe",
                "DEMO_LIMIT": "3.5",
                "DEMO_PROT": "8080",
                "DEMO_STEPS": "x",
            },
        )
    [unknown] = [line for line in error.value.errors if "DEMO_PROT" in line]
    assert unknown.startswith("DEMO_PROT: no such setting; expected one of DEMO_API_KEY, ")
    assert {*error.value.errors} - {unknown} == {
        "DEMO_NAME is not set: it has no default",
        "DEMO_PORT='70000': expected a number from 1 to 65535",
        "DEMO_RATIO='much': expected a number",
        "DEMO_MODE='tpu': expected one of cpu, gpu",
        "DEMO_QUIET='maybe': expected true or false",
        "DEMO_LIMIT='3.5': expected a whole number",
        "DEMO_STEPS='x': expected a whole number",
    }
    assert str(error.value).count("\n") == 7


def test_a_rule_between_settings_is_reported_with_the_prefix() -> None:
    with pytest.raises(SettingsError, match=r"DEMO_\*: slots \(9\) must not be above port \(8\)"):
        load(Demo, "DEMO_", {"DEMO_NAME": "a", "DEMO_PORT": "8", "DEMO_SLOTS": "9"})


def test_a_not_a_number_is_out_of_every_range() -> None:
    for raw in ("nan", "inf", "-inf"):
        with pytest.raises(SettingsError, match=r"expected a number from 0\.0 to 1\.0"):
            load(Demo, "DEMO_", {"DEMO_NAME": "a", "DEMO_RATIO": raw})


def test_another_processes_settings_are_not_ours_to_judge() -> None:
    assert load(Demo, "DEMO_", {"DEMO_NAME": "a", "OTHER_DEMO_X": "1", "DEM": "2"}).name == "a"


@dataclass(frozen=True)
class Secrets:
    api_key: int = 0
    client_secret: int = 0
    admin_password: int = 0
    token: int = 0
    database_url: int = 0


def test_no_secret_shows_in_an_error() -> None:
    environ = {
        f"S_{name.upper()}": f"hush-{name}"
        for name in ("api_key", "client_secret", "admin_password", "token", "database_url")
    }
    with pytest.raises(SettingsError) as error:
        load(Secrets, "S_", environ)
    assert len(error.value.errors) == 5
    assert "hush" not in str(error.value)
    assert "S_API_KEY=…: expected a whole number" in error.value.errors
