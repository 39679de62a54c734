"""What is asked of an engine, read from the registry: which versions may be asked for, how many of
them within the same minute, and how long requests are. Blocks.
"""

from __future__ import annotations

from registry import Registry
from registry.database import now
from serve.plan import Adapter, Demand
from serve.settings import EngineSettings

HOURS = 24.0
WINDOW_S = 60.0
_LONG = 0.95
"""Requests up to this percentile are planned for."""


def find(
    registry: Registry,
    settings: EngineSettings,
    *,
    working_set: int | None = None,
    hours: float = HOURS,
) -> Demand:
    """For an engine with these settings; `working_set` is what somebody expects, if they do."""
    snapshot = registry.snapshot()
    of_base = [v for v in snapshot.versions.values() if _fits(v.manifest.get("base"), settings)]
    routable = [v for v in of_base if v.state in ("live", "canary", "shadow", "candidate")]
    live = {
        digest
        for alias in snapshot.aliases.values()
        for digest in (alias.live, alias.canary, alias.shadow)
        if digest is not None
    }
    known = {version.digest for version in of_base}
    previous = {alias.previous for alias in snapshot.aliases.values()}
    back = [v for v in of_base if v.state == "retired" and v.digest in previous]
    seen = registry.exchanges.traffic(now() - hours * 3600, WINDOW_S, _LONG)
    if working_set is not None:
        count, why = working_set, f"{working_set} adapters at once, as you said"
    elif seen.busiest:
        count = seen.busiest
        why = f"{count} adapters in the busiest minute of the last {hours:g} h"
    elif live & known:
        count = len(live & known)
        why = f"{count} live versions (there was no traffic yet to go by)"
    else:
        count, why = settings.max_loras, f"{settings.max_loras} by default: nothing is live yet"
    longest = settings.max_model_len
    if seen.requests:
        tokens = min(longest, max(16, seen.long_tokens))
        tokens_from = f"as long as {_LONG:.0%} of the last {hours:g} h's requests"
    else:
        tokens, tokens_from = longest, "max_model_len (there was no traffic yet to go by)"
    return Demand(
        adapters=tuple(
            Adapter(f"{v.tenant}/{v.adapter}", _rank(v.manifest.get("rank")))
            for v in [*routable, *back]
        ),
        working_set=count,
        working_set_from=why,
        max_num_seqs=settings.max_num_seqs,
        request_tokens=tokens,
        request_tokens_from=tokens_from,
        modules=frozenset(settings.lora_modules.split(",")),
    )


def _fits(base: object, settings: EngineSettings) -> bool:
    """Whether a version is this engine's: it names its base, or (made by hand) none."""
    return base in (None, "", settings.name)


def _rank(rank: object) -> int | None:
    return rank if isinstance(rank, int) and rank > 0 else None
