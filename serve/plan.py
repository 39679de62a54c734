"""The engine plan: slots, rank, adapters in host memory and requests at once, each with its reason.

Pure: `plan(shape, memory, demand) -> Plan`. Knows sizes and what vLLM does with them; where they
come from is in serve/demand.py and serve/memory.py. Bytes everywhere.

An engine's step serves at most `max_loras` distinct adapters. A slot takes memory at
`max_lora_rank` whatever is in it, and next to no time; a working set beyond the slots loses up to
half of the throughput (docs/deploy.md has the figures). So after the model itself, memory goes to a
slot and room for one request for each adapter of the working set, and what is left to more
requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from serve.settings import LORA_RANKS
from serve.shape import Shape

SPARE_SLOTS = 1
"""For a version that is being checked or swapped in beside the one it replaces."""
PADDING_WORTH_A_POOL = 0.5
"""From this share of a slot's memory lost to padding on, a pool for the small ranks is advised."""
_MEASURED = ((1.0, 1.0), (2.0, 0.78), (4.0, 0.57), (8.0, 0.49))
"""(adapters ÷ slots, share of the tokens a second): vLLM 0.32, a small model on two cores."""
MIB = 1 << 20


@dataclass(frozen=True)
class Adapter:
    """A version that may be asked for. `name` is for people; rank None: its manifest has none."""

    name: str
    rank: int | None


@dataclass(frozen=True)
class Demand:
    """What is asked of the engine. `working_set`: adapters asked for within the same minute."""

    adapters: tuple[Adapter, ...]
    working_set: int
    working_set_from: str
    max_num_seqs: int
    request_tokens: int
    """Prompt and answer of a long request."""
    request_tokens_from: str
    modules: frozenset[str]


@dataclass(frozen=True)
class Memory:
    """What the engine may take. On a CPU `device` and `host` are the same bytes (`shared`)."""

    device: int
    device_from: str
    host: int
    weights: int
    runtime: int
    """What the process takes besides weights, slots, adapters, keys and values."""
    shared: bool


@dataclass(frozen=True)
class Choice:
    """A setting of EngineSettings (its field's name), its value, and why."""

    setting: str
    value: int | float
    why: str


@dataclass(frozen=True)
class Plan:
    """`choices` are settings to start the engine with; `warnings` say what doesn't fit."""

    choices: tuple[Choice, ...]
    economics: tuple[str, ...]
    warnings: tuple[str, ...]
    slot_bytes: int
    padding: float
    """Share of the slots' memory that holds zeros because adapters' ranks are below the slots'."""

    @property
    def fits(self) -> bool:
        """Whether the engine serves what is expected of it without loss."""
        return not self.warnings

    def values(self) -> dict[str, int | float]:
        """{field of EngineSettings: value}."""
        return {choice.setting: choice.value for choice in self.choices}


def plan(shape: Shape, memory: Memory, demand: Demand, *, default_rank: int = 16) -> Plan:
    """What to start an engine with. Never raises: what doesn't fit is a warning."""
    warnings: list[str] = []
    rank = _rank(demand.adapters, default_rank, warnings)
    served = [a for a in demand.adapters if (a.rank or rank.value) <= rank.value]
    slot = shape.slot_bytes(int(rank.value), demand.modules)
    request = demand.request_tokens * shape.token_bytes()
    adapter = _mean(
        [shape.adapter_bytes(a.rank or int(rank.value), demand.modules) for a in served]
    )

    room = memory.device - memory.weights - memory.runtime
    own = adapter if memory.shared else 0
    slots = _slots(demand, slot, request, own, room, warnings)
    room -= int(slots.value) * slot
    seqs = _requests(demand, request, room - int(slots.value) * own, warnings)
    kv = int(seqs.value) * request
    host = room - kv if memory.shared else memory.host
    cached = _cached(len(served), adapter, int(slots.value), host, warnings)

    choices = [rank, slots, cached, seqs]
    if memory.shared:
        gib = max(0.01, math.ceil(kv / (1 << 30) * 100) / 100)
        why = f"keys and values of {seqs.value} requests of {demand.request_tokens:,} tokens"
        choices.append(Choice("kv_cache_gib", gib, why))
    padding, economics = _economics(shape, demand, served, int(rank.value), int(slots.value))
    if not memory.shared:
        left, token = max(0, room), max(1, shape.token_bytes())
        economics.append(
            f"keys and values get what is left of the GPU, {size(left)}: about {left // token:,} "
            f"tokens; a slot costs {slot // token:,} of them"
        )
    return Plan(tuple(choices), tuple(economics), tuple(warnings), slot, padding)


def expected_share(adapters: int, slots: int) -> float:
    """The share of its tokens a second that an engine keeps with more adapters than slots."""
    ratio = max(1.0, adapters / slots)
    for (low, high_share), (high, low_share) in pairwise(_MEASURED):
        if ratio <= high:
            along = math.log(ratio / low) / math.log(high / low)
            return high_share + (low_share - high_share) * along
    return _MEASURED[-1][1]


def size(number: float) -> str:
    """Bytes as people read them."""
    if number >= 10 * (1 << 30):
        return f"{number / (1 << 30):.0f} GiB"
    return f"{number / (1 << 30):.1f} GiB" if number >= 1 << 30 else f"{number / MIB:.3g} MiB"


def _rank(adapters: Sequence[Adapter], default: int, warnings: list[str]) -> Choice:
    known = [a for a in adapters if a.rank is not None and a.rank <= LORA_RANKS[-1]]
    for adapter in adapters:
        if adapter.rank is not None and adapter.rank > LORA_RANKS[-1]:
            warnings.append(
                f"{adapter.name} has rank {adapter.rank}, vLLM serves up to {LORA_RANKS[-1]}: it "
                "will be refused; train it with a smaller rank"
            )
    if not known:
        why = "as set: there is no version yet whose rank is known"
        return Choice("max_lora_rank", default, why)
    needed = max(a.rank or 0 for a in known)
    value = next(rank for rank in LORA_RANKS if rank >= needed)
    force = [a for a in known if (a.rank or 0) > _below(value)]
    why = f"the smallest that vLLM takes for rank {needed}, which {_names(force)} "
    return Choice("max_lora_rank", value, why + ("need" if len(force) > 1 else "needs"))


def _slots(
    demand: Demand, slot: int, request: int, own: int, room: int, warnings: list[str]
) -> Choice:
    """max_loras. A slot without room for a request is of no use, so both are counted together."""
    wanted = min(demand.working_set, demand.max_num_seqs)
    most = min(wanted + SPARE_SLOTS, demand.max_num_seqs)
    fit = max(0, room) // max(1, slot + request + own)
    if fit >= most:
        why = f"{demand.working_set_from}, and {SPARE_SLOTS} for a version that is being swapped in"
        if most <= demand.working_set:
            why = f"a step has no more distinct adapters than its {most} requests"
        return Choice("max_loras", most, f"{why}; {size(slot)} each, {size(most * slot)} together")
    if fit == 0:
        warnings.append(
            f"memory does not hold one slot of {size(slot)} and a request of {size(request)} "
            "beside the model: the engine won't start; give it more memory, shorten max_model_len "
            "or take a smaller base"
        )
        return Choice("max_loras", 1, f"the least there can be; a slot takes {size(slot)}")
    if fit < wanted:
        share = expected_share(wanted, fit)
        warnings.append(
            f"memory holds {fit} slots of {size(slot)}, {wanted} adapters are asked for at once: "
            f"expect about {share:.0%} of the tokens a second; add "
            f"{_replicas(math.ceil(wanted / fit) - 1)}, give it "
            f"{size((wanted - fit) * (slot + request + own))} more, or lower the largest rank"
        )
    return Choice("max_loras", fit, f"what memory holds at {size(slot)} each ({most} wanted)")


def _requests(demand: Demand, request: int, room: int, warnings: list[str]) -> Choice:
    """max_num_seqs."""
    tokens = f"{demand.request_tokens:,} tokens"
    fit = max(1, room // max(1, request))
    if fit >= demand.max_num_seqs:
        why = f"as set; a request takes {size(request)} at {tokens}, {demand.request_tokens_from}"
        return Choice("max_num_seqs", demand.max_num_seqs, why)
    warnings.append(
        f"memory holds the keys and values of {fit} requests of {tokens}, not of "
        f"{demand.max_num_seqs}: expect requests to wait; give it more memory or add a replica"
    )
    return Choice("max_num_seqs", fit, f"what memory holds at {size(request)} for {tokens}")


def _cached(served: int, adapter: int, slots: int, room: int, warnings: list[str]) -> Choice:
    """max_cpu_loras: adapters in host memory; one that is not there is read from disk each time."""
    wanted = max(slots, served + SPARE_SLOTS)
    fit = max(0, room) // max(1, adapter)
    if not served:
        return Choice("max_cpu_loras", wanted, "no fewer than slots; there is no version yet")
    if fit >= wanted:
        why = f"all {served} versions that may be asked for, and {SPARE_SLOTS} more"
        if wanted > served + SPARE_SLOTS:
            why = "no fewer than slots"
        total = f"about {size(adapter)} each, {size(adapter * wanted)} together"
        return Choice("max_cpu_loras", wanted, f"{why}; {total}")
    warnings.append(
        f"host memory holds {fit} adapters of {size(adapter)}, {served} may be asked for: the "
        "others are read from disk when they are, while every request waits"
    )
    why = f"what host memory holds at {size(adapter)} each"
    return Choice("max_cpu_loras", max(slots, fit), why)


def _economics(
    shape: Shape, demand: Demand, served: Sequence[Adapter], rank: int, slots: int
) -> tuple[float, list[str]]:
    """What ranks below the slots' cost, and what a pool for them would save."""
    ranks = [a.rank or rank for a in served]
    if not ranks:
        return 0.0, []
    padding = 1 - sum(ranks) / len(ranks) / rank
    whole = slots * shape.slot_bytes(rank, demand.modules)
    said = [f"{padding:.0%} of the slots' {size(whole)} is padding: ranks below {rank}"]
    if padding < PADDING_WORTH_A_POOL or len(ranks) < 2:
        return padding, said
    used = sorted({next(r for r in LORA_RANKS if r >= own) for own in ranks})
    best: tuple[int, int, int] | None = None
    for low in used[:-1]:
        small = sum(own <= low for own in ranks)
        part = math.ceil(slots * small / len(ranks))
        cost = part * shape.slot_bytes(low, demand.modules)
        cost += (slots - part) * shape.slot_bytes(rank, demand.modules)
        if best is None or cost < best[0]:
            best = (cost, low, small)
    if best is not None:
        cost, low, small = best
        said.append(
            f"two pools would take {size(cost)} instead: a replica with max_lora_rank {low} for "
            f"the {small} adapters up to that rank, one with {rank} for the other "
            f"{len(ranks) - small}"
        )
    return padding, said


def _mean(sizes: Sequence[int]) -> int:
    return math.ceil(sum(sizes) / len(sizes)) if sizes else 0


def _below(rank: int) -> int:
    """The next smaller rank that vLLM takes; 0 below the first."""
    position = LORA_RANKS.index(rank)
    return LORA_RANKS[position - 1] if position else 0


def _names(adapters: Sequence[Adapter], shown: int = 3) -> str:
    names = [adapter.name for adapter in adapters[:shown]]
    if len(adapters) > shown:
        names.append(f"{len(adapters) - shown} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _replicas(count: int) -> str:
    return "a replica" if count <= 1 else f"{count} replicas"
