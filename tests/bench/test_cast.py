"""The adapters that benchmarks make are ones that an engine takes."""

from __future__ import annotations

from pathlib import Path

from bench import cast
from bench.cliff import BASE
from registry.fingerprint import base_fingerprint
from registry.store import Store
from serve.resolver import check_adapter
from serve.settings import LINEAR


def test_each_tenants_adapter_passes_the_engines_checks(tmp_path: Path) -> None:
    made = cast.make(BASE, tmp_path, 3)

    assert len({part.digest for part in made.parts}) == 3
    for part in made.parts:
        folder = Store(made.store_url).fetch(part.digest, tmp_path / "staging")
        check_adapter(folder, base_fingerprint(BASE), 8, frozenset(LINEAR.split(",")))
