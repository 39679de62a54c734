"""The engine plan, with values: no registry, no machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.plan import Adapter, Demand, Memory, Plan, expected_share, plan
from serve.settings import LINEAR, LORA_RANKS
from serve.shape import Shape, UnknownShape

MIB, GIB = 1 << 20, 1 << 30
MODULES = frozenset(LINEAR.split(","))
TINY = Path("train/base/switchyard-tiny/config.json")
# Llama 3.1 8B: 32 layers, grouped keys, bfloat16.
EIGHT_B = Shape(
    layers=32, hidden=4096, inner=14336, queries=4096, keys=1024, number_bytes=2
)  # fmt: skip
H100 = Memory(
    device=72 * GIB, device_from="as set", host=200 * GIB, weights=15 * GIB, runtime=3 * GIB,
    shared=False,
)  # fmt: skip


def adapters(*ranks: int | None) -> tuple[Adapter, ...]:
    return tuple(Adapter(f"tenant-{n}/triage", rank) for n, rank in enumerate(ranks))


def demand(*ranks: int | None, working_set: int | None = None, seqs: int = 256) -> Demand:
    count = len(ranks) if working_set is None else working_set
    return Demand(
        adapters=adapters(*ranks),
        working_set=count,
        working_set_from=f"{count} adapters in the busiest minute",
        max_num_seqs=seqs,
        request_tokens=1024,
        request_tokens_from="as long as requests are",
        modules=MODULES,
    )


def value(found: Plan, setting: str) -> float:
    return found.values()[setting]


def why(found: Plan, setting: str) -> str:
    return next(choice.why for choice in found.choices if choice.setting == setting)


def test_a_slot_of_an_8b_model_takes_what_its_layers_say() -> None:
    # q 8192, k and v 5120 each, o 8192, gate, up and down 18432 each: numbers a rank and layer.
    assert EIGHT_B.slot_bytes(16, MODULES) == (2 * 8192 + 2 * 5120 + 3 * 18432) * 16 * 32 * 2
    assert EIGHT_B.token_bytes() == 2 * 32 * 1024 * 2


def test_a_slot_holds_room_for_a_whole_pack_when_one_part_may_be_changed() -> None:
    attention = EIGHT_B.slot_bytes(8, {"q_proj", "k_proj", "v_proj"})

    assert EIGHT_B.slot_bytes(8, {"q_proj"}) == attention
    assert EIGHT_B.adapter_bytes(8, {"q_proj"}) < attention


def test_shards_split_a_slot_unevenly() -> None:
    two = replace(EIGHT_B, shards=2)

    assert two.slot_bytes(8, {"o_proj"}) == (2048 + 4096) * 8 * 32 * 2
    assert two.slot_bytes(8, {"gate_proj", "up_proj"}) == 2 * (4096 + 7168) * 8 * 32 * 2
    assert two.token_bytes() == EIGHT_B.token_bytes() // 2


def test_the_shape_of_the_shipped_base() -> None:
    shape = Shape.of(json.loads(TINY.read_text()), "float32")

    assert shape == Shape(4, 192, 512, 192, 192, 4)


def test_a_config_without_sizes_says_which_settings_to_make_by_hand() -> None:
    with pytest.raises(UnknownShape, match=r"num_hidden_layers.*SWITCHYARD_ENGINE_MAX_LORAS"):
        Shape.of({"num_attention_heads": 8, "hidden_size": 64}, None)


def test_what_fits_gets_a_slot_for_each_and_one_for_a_swap() -> None:
    found = plan(EIGHT_B, H100, demand(*[16] * 20))

    assert found.fits
    assert found.values() == {
        "max_lora_rank": 16,
        "max_loras": 21,
        "max_cpu_loras": 21,
        "max_num_seqs": 256,
    }
    assert why(found, "max_loras").startswith("20 adapters in the busiest minute")


def test_the_rank_is_the_smallest_that_vllm_takes_and_names_who_needs_it() -> None:
    found = plan(EIGHT_B, H100, demand(8, 8, 24, 12))

    assert value(found, "max_lora_rank") == 32
    assert "rank 24, which tenant-2/triage needs" in why(found, "max_lora_rank")


def test_many_who_need_the_rank_are_counted() -> None:
    found = plan(EIGHT_B, H100, demand(*[64] * 6))

    assert why(found, "max_lora_rank").endswith(
        "tenant-0/triage, tenant-1/triage, tenant-2/triage and 3 more need"
    )


def test_a_rank_above_all_of_vllms_is_refused_and_does_not_raise_the_others() -> None:
    found = plan(EIGHT_B, H100, demand(8, 1024))

    assert value(found, "max_lora_rank") == 8
    assert "tenant-1/triage has rank 1024" in found.warnings[0]


def test_small_ranks_in_large_slots_are_told_what_a_pool_would_save() -> None:
    found = plan(EIGHT_B, H100, demand(*[8] * 15, 128))

    assert found.padding == pytest.approx(1 - (15 * 8 + 128) / 16 / 128)
    assert "88% of the slots' 11 GiB is padding" in found.economics[0]
    assert "a replica with max_lora_rank 8 for the 15 adapters" in found.economics[1]


def test_equal_ranks_waste_nothing_and_get_no_advice() -> None:
    found = plan(EIGHT_B, H100, demand(16, 16))

    assert found.padding == 0.0
    assert not any("two pools" in line for line in found.economics)


def test_a_working_set_beyond_memory_says_what_to_expect_and_what_helps() -> None:
    small = replace(H100, device=22 * GIB)
    found = plan(EIGHT_B, small, demand(*[64] * 30))

    slots = value(found, "max_loras")
    assert 1 <= slots < 30
    assert not found.fits
    assert f"memory holds {slots} slots" in found.warnings[0]
    assert "expect about" in found.warnings[0]
    assert "replica" in found.warnings[0]


def test_the_engine_that_would_not_start_is_said_so() -> None:
    found = plan(EIGHT_B, replace(H100, device=18 * GIB), demand(16))

    assert "won't start" in found.warnings[0]
    assert value(found, "max_loras") == 1


def test_no_more_slots_than_requests_at_once() -> None:
    found = plan(EIGHT_B, H100, demand(*[8] * 100, seqs=32))

    assert value(found, "max_loras") == 32
    assert "no more distinct adapters than its 32 requests" in why(found, "max_loras")


def test_host_memory_holds_every_version_that_may_be_asked_for() -> None:
    found = plan(EIGHT_B, H100, demand(*[16] * 300, working_set=8))

    assert value(found, "max_loras") == 9
    assert value(found, "max_cpu_loras") == 301


def test_a_host_too_small_for_all_versions_warns_of_the_disk() -> None:
    found = plan(EIGHT_B, replace(H100, host=2 * GIB), demand(*[16] * 300, working_set=8))

    assert 9 <= value(found, "max_cpu_loras") < 301
    assert "read from disk" in found.warnings[0]


def test_nothing_trained_yet_is_planned_as_set() -> None:
    found = plan(EIGHT_B, H100, demand(working_set=16), default_rank=32)

    assert found.values() | {"max_num_seqs": 0} == {
        "max_lora_rank": 32,
        "max_loras": 17,
        "max_cpu_loras": 17,
        "max_num_seqs": 0,
    }


def test_on_a_cpu_slots_adapters_keys_and_values_share_one_memory() -> None:
    shape = Shape(4, 192, 512, 192, 192, 4)
    memory = Memory(3 * GIB, "as set", 3 * GIB, 10 * MIB, 2560 * MIB, shared=True)
    found = plan(shape, memory, demand(*[8] * 32, seqs=64))

    assert found.fits
    assert value(found, "kv_cache_gib") == 0.38  # 64 requests of 1,024 tokens of 6 KiB
    assert value(found, "max_loras") == 33


@pytest.mark.parametrize(
    ("count", "slots", "share"), [(4, 4, 1.0), (2, 4, 1.0), (8, 4, 0.78), (32, 4, 0.49)]
)
def test_the_share_of_tokens_that_is_left_is_what_was_measured(
    count: int, slots: int, share: float
) -> None:
    assert expected_share(count, slots) == share


@given(
    ranks=st.lists(st.integers(1, 600) | st.none(), max_size=40),
    working_set=st.integers(0, 2000),
    seqs=st.integers(1, 1024),
    device=st.integers(0, 200),
    host=st.integers(0, 200),
    shared=st.booleans(),
)
def test_whatever_is_asked_vllm_takes_the_settings(
    ranks: list[int | None], working_set: int, seqs: int, device: int, host: int, shared: bool
) -> None:
    memory = Memory(device * GIB, "as set", host * GIB, 15 * GIB, 3 * GIB, shared=shared)
    found = plan(EIGHT_B, memory, demand(*ranks, working_set=working_set, seqs=seqs))

    values = found.values()
    assert values["max_lora_rank"] in LORA_RANKS
    assert 1 <= values["max_loras"] <= seqs
    assert values["max_cpu_loras"] >= values["max_loras"]
    assert values["max_loras"] <= values["max_num_seqs"] <= seqs
    assert 0.0 <= found.padding < 1.0
    used = values["max_loras"] * found.slot_bytes
    assert used <= memory.device or not found.fits
