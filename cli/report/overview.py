"""All tenants' part of the page: what the *Operator* and *Retraining* dashboards show of them.

Knows the account's fields; nothing of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.report.table import counted, figure, left, length, table

_DRAWN = 8
"""Tenants that a picture has a line for: those of whom there is most to see."""


def part(told: Mapping[str, Any]) -> str:
    """The whole part. Needs matplotlib."""
    parts = ["<article>\n<h2>All tenants</h2>", _numbers(told)]
    parts += ["<h3>Tenants</h3>", _tenants(told["tenants"])]
    parts += [*_budget(told), *_traffic(told), *_drift(told["tenants"]), *_engines(told["fleet"])]
    return "\n".join([*parts, "</article>"])


def _numbers(told: Mapping[str, Any]) -> str:
    fleet, control = told["fleet"], told["fleet"]["control"]
    rows: list[list[Any]] = [["requests", str(fleet["requests"])]]
    if fleet["requests"]:
        good = 1 - fleet["errors"] / fleet["requests"]
        rows.append(["answered without error", f"{good:.2%}"])
        fallbacks = sum(sum(found["fallbacks"].values()) for found in told["tenants"])
        rows.append(["served by a fallback", f"{fallbacks / fleet['requests']:.2%}"])
    if (budget := left(fleet["error_budget"])) is not None:
        rows.append(["error budget left, 30 days", budget])
    ready = sum(engine["ready"] for engine in fleet["engines"])
    rows.append(["ready engines", f"{ready} of {len(fleet['engines'])}"])
    drifting = sum(
        any((a["drift"] or {}).get("phase") == "established" for a in found["adapters"])
        for found in told["tenants"]
    )
    rows.append(["tenants in drift", str(drifting)])
    for name in ("jobs", "versions", "verdicts"):
        rows.append([f"{name}, all there are", counted(fleet[name])])
    waiting = sum(
        version["waits"]
        for found in told["tenants"]
        for adapter in found["adapters"]
        for version in adapter["versions"]
    )
    rows.append(["versions that wait for a person's word", str(waiting)])
    rows.append(["receipts of this time", counted(fleet["receipts"])])
    if fleet["live_after_s"] is not None:
        rows.append(["from candidate to live, mean", f"{fleet['live_after_s']:.1f} s"])
    rows.append(["the loop's retrainings took", f"{fleet['trained_s'] / 3600:.2f} hours"])
    text = f"{control['alarms']} seen, {control['promised']:.2g} allowed on average"
    rows.append(["false alarms on streams without drift", text])
    return table([], rows)


def _tenants(tenants: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            found["tenant"],
            found["requests"],
            found["errors"],
            sum(found["fallbacks"].values()),
            _percent(found["error_budget"]["left"]),
            (found["latency_ms"] or {}).get("p95"),
            (found["first_token_ms"] or {}).get("p95"),
            sum(found["tokens"].values()),
            found["cost"],
            _worst_drift(found),
            _good(found["quality"]),
            sum(adapter["corrections_waiting"] for adapter in found["adapters"]),
            "; ".join(wrong for adapter in found["adapters"] for wrong in adapter["wrong"]),
        ]
        for found in tenants
    ]
    columns = [
        "tenant", "requests", "errors", "fallbacks", "budget left", "p95 ms", "first token p95 ms",
        "tokens", "cost", "drift of threshold", "called good", "corrections waiting",
        "what is wrong",
    ]  # fmt: skip
    return table(columns, rows)


def _budget(told: Mapping[str, Any]) -> list[str]:
    whole = told["fleet"]["error_budget"]["over_time"]
    if len(whole) < 2:
        return []
    from cli.report import plots

    known = [found for found in told["tenants"] if found["error_budget"]["over_time"]]
    known.sort(key=lambda found: float(found["error_budget"]["left"] or 0.0))
    lines = [("all together", whole)]
    lines += [(f["tenant"], f["error_budget"]["over_time"]) for f in known[:_DRAWN]]
    text = (
        "Of the errors that 30 days allow, each day; of tenants those with the least left. "
        "Less than -100 % is drawn there."
    )
    picture = plots.budget(lines, (whole[0]["at"], told["until"]), [])
    return ["<h3>Error budget</h3>", figure(picture, text)]


def _traffic(told: Mapping[str, Any]) -> list[str]:
    busy = sorted(told["tenants"], key=lambda found: -found["requests"])[:_DRAWN]
    busy = [found for found in busy if found["over_time"]]
    if not busy:
        return []
    from cli.report import plots

    step, span = told["step_s"], (
        min(found["over_time"][0]["at"] for found in busy), told["until"],
    )  # fmt: skip
    requests = [
        (f["tenant"], {s["at"]: float(s["requests"]) for s in f["over_time"]}) for f in busy
    ]
    whole = _p95(busy, "latency_ms")
    return [
        "<h3>Traffic</h3>",
        figure(plots.by_tenant(requests, span, "requests", "Requests"),
               f"Requests in {length(step)}, of the tenants with the most."),
        figure(plots.by_tenant(whole, span, "ms, whole request", "Whole request"),
               "19 of 20 of their requests are done sooner."),
        *(
            figure(plots.by_tenant(found, span, "ms, first token", "First token"),
                   "19 of 20 of them see their first token sooner.")
            for found in [_p95(busy, "first_token_ms")]
            if any(values for _, values in found)
        ),
    ]  # fmt: skip


def _p95(tenants: Sequence[Mapping[str, Any]], name: str) -> list[tuple[str, dict[float, float]]]:
    return [
        (found["tenant"], {s["at"]: s[name]["p95"] for s in found["over_time"] if s[name]})
        for found in tenants
    ]


def _drift(tenants: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (f"{found['tenant']}/{adapter['adapter']}", adapter["drift"])
        for found in tenants
        for adapter in found["adapters"]
        if adapter["drift"] and adapter["drift"]["phase"] != "reference"
    ]
    rows.sort(key=lambda row: -row[1]["statistic"] / row[1]["threshold"])
    if not rows:
        return []
    from cli.report import bars

    text = "Now, of the adapters with the most evidence: beyond the line, prompts have changed."
    return ["<h3>Drift</h3>", figure(bars.drift(rows[: 2 * _DRAWN]), text)]


def _engines(fleet: Mapping[str, Any]) -> list[str]:
    rows = [
        [engine["engine"], engine["state"], "yes" if engine["ready"] else "no", engine["warm"],
         engine["slots"]]
        for engine in fleet["engines"]
    ]  # fmt: skip
    columns = ["engine", "state", "ready now", "warm versions", "slots"]
    return ["<h3>Engines</h3>", table(columns, rows)] if rows else []


def _worst_drift(found: Mapping[str, Any]) -> str | None:
    shares = [
        adapter["drift"]["statistic"] / adapter["drift"]["threshold"]
        for adapter in found["adapters"]
        if adapter["drift"] and adapter["drift"]["phase"] != "reference"
    ]
    return _percent(max(shares, default=None))


def _good(quality: Mapping[str, Any]) -> str | None:
    if quality["share"] is None:
        return None
    low, high = quality["interval"]
    return f"{quality['share']:.0%} ({low:.0%}–{high:.0%})"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
