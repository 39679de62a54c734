import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import ContentCorrupted, ContentMissing
from registry.fingerprint import base_fingerprint
from registry.names import served_name
from registry.store import Store
from serve.resolver import AdapterRefused, StoreResolver, register
from tests.serve.making import adapter_folder, base_folder

MODULES = frozenset({"q_proj", "v_proj"})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_folder(tmp_path / "base")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def resolver(tmp_path: Path, store: Store) -> StoreResolver:
    return StoreResolver(store, tmp_path / "staging", max_lora_rank=16, modules=MODULES)


def published(store: Store, folder: Path) -> str:
    return served_name("triage", store.publish(folder))


def test_stages_a_verified_copy(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    name = published(store, adapter_folder(tmp_path / "a", manifest=base_fingerprint(base)))

    folder = resolver.stage(str(base), name)

    assert folder.parent == tmp_path / "staging"
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights 0"


def test_refuses_a_rank_above_the_engines(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    name = published(
        store, adapter_folder(tmp_path / "a", rank=32, manifest=base_fingerprint(base))
    )

    with pytest.raises(AdapterRefused, match="rank 32 is above this engine's 16"):
        resolver.stage(str(base), name)


def test_a_rank_hidden_in_a_pattern_counts(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    folder = adapter_folder(
        tmp_path / "a", manifest=base_fingerprint(base), config={"rank_pattern": {"v_proj": 64}}
    )

    with pytest.raises(AdapterRefused, match="rank 64"):
        resolver.stage(str(base), published(store, folder))


def test_refuses_an_adapter_for_another_base(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    other = base_fingerprint(base_folder(tmp_path / "other", hidden_size=256))
    name = published(store, adapter_folder(tmp_path / "a", manifest={**other, "base": "big"}))

    with pytest.raises(AdapterRefused, match=r"another base \(big\): base_config_sha256 differ"):
        resolver.stage(str(base), name)


def test_refuses_modules_that_the_engine_would_leave_out_silently(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    folder = adapter_folder(
        tmp_path / "a",
        manifest=base_fingerprint(base),
        config={"target_modules": ["q_proj", "lm_head"]},
    )

    with pytest.raises(AdapterRefused, match="it changes lm_head"):
        resolver.stage(str(base), published(store, folder))


def test_names_the_file_that_is_corrupted(
    tmp_path: Path, base: Path, store: Store, resolver: StoreResolver
) -> None:
    name = published(store, adapter_folder(tmp_path / "a", manifest=base_fingerprint(base)))
    (file,) = (tmp_path / "store").rglob("adapter_model.safetensors")
    file.write_bytes(b"rotten")

    with pytest.raises(ContentCorrupted, match=r"adapter_model\.safetensors is corrupted"):
        resolver.stage(str(base), name)


def test_a_name_that_was_never_published_is_missing(base: Path, resolver: StoreResolver) -> None:
    with pytest.raises(ContentMissing):
        resolver.stage(str(base), "triage@0123456789ab")


@pytest.mark.parametrize("name", ["triage", "../x@0123456789ab", "triage@012", "gpt-4"])
def test_only_served_names_reach_the_store(base: Path, resolver: StoreResolver, name: str) -> None:
    with pytest.raises(AdapterRefused, match="not a served name"):
        resolver.stage(str(base), name)


@pytest.mark.parametrize("name", ["gpt-4", "triage@0123456789ab"])
async def test_every_refusal_is_none_and_one_line_in_the_log(
    base: Path, resolver: StoreResolver, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await resolver.resolve_lora(str(base), name) is None
    assert [f"adapter '{name}' refused" in message for message in caplog.messages] == [True]


async def test_a_base_that_cant_be_read_is_a_refusal_and_no_crash(
    tmp_path: Path, store: Store, resolver: StoreResolver
) -> None:
    name = published(store, adapter_folder(tmp_path / "a"))

    assert await resolver.resolve_lora(str(tmp_path), name) is None


def test_registers_nothing_in_a_vllm_that_is_not_ours() -> None:
    register({})


def test_importing_it_needs_no_vllm() -> None:
    code = "import sys, serve.resolver; sys.exit('vllm' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
