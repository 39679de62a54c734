"""A tenant's part of the page: what the *Tenant* dashboard shows, and its receipts.

Knows the account's fields; nothing of the registry, and of no other tenant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from cli.report.table import counted, figure, judged, left, length, moment, table

Adapters = Iterable[Mapping[str, Any]]
Marks = list[tuple[float, str]]


def part(found: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The whole part, of an account's tenant and the account. Needs matplotlib."""
    span = (told["since"], told["until"])
    marks: Marks = [
        (decision["at"], decision["version"] or decision["adapter"])
        for decision in found["decisions"]
        if decision["kind"] in ("promote", "rollback")
    ]
    parts = [f"<article>\n<h2>{escape(found['tenant'])}</h2>", _summary(found)]
    parts += _served(found["adapters"])
    parts += _traffic(found, told["step_s"], marks)
    parts += _budget(found, told["until"], marks)
    parts += _answers(found, told["step_s"], marks)
    parts += _quality(found, span, marks)
    parts += _evidence(found["adapters"], span, marks)
    parts += _drift(found["adapters"], span, marks)
    parts += _gains(found["decisions"])
    parts += _versions(found["adapters"])
    parts += _decisions(found["decisions"])
    parts += _jobs(found["jobs"])
    return "\n".join([*parts, "</article>"])


def _summary(found: Mapping[str, Any]) -> str:
    requests = found["requests"]
    rows: list[list[Any]] = [["requests", str(requests)]]
    if requests:
        rows.append(["answered without error", f"{1 - found['errors'] / requests:.2%}"])
        rows.append(["errors", f"{found['errors']} ({found['errors'] / requests:.2%})"])
    if found["statuses"]:
        told = ", ".join(f"{status}: {count}" for status, count in found["statuses"].items())
        rows.append(["error answers by status", told])
    if (budget := left(found["error_budget"])) is not None:
        rows.append(["error budget left, 30 days", budget])
    for reason, count in found["fallbacks"].items():
        rows.append([f"answered by a fallback: {reason}", f"{count} ({count / requests:.2%})"])
    for name, label in (
        ("latency_ms", "whole request"),
        ("first_token_ms", "first token"),
        ("queue_ms", "waiting for an engine"),
    ):
        if times := found[name]:
            shown = f"{times['p50']:.0f} / {times['p95']:.0f} / {times['p99']:.0f} ms"
            rows.append([f"{label}: half, 19 of 20, 99 of 100 within", shown])
    tokens = found["tokens"]
    rows.append(["tokens read, written", f"{tokens['prompt']}, {tokens['completion']}"])
    if found["cost"] is not None:
        rows.append(["cost", f"{found['cost']:.4g}"])
    if (good := judged(found["quality"])) is not None:
        rows.append(["answers called good", good])
    if kinds := Counter(decision["kind"] for decision in found["decisions"]):
        rows.append(["decisions", counted(kinds)])
    return table([], rows)


def _served(adapters: Adapters) -> list[str]:
    """What each name stands for now, and where its adapter stands."""
    rows = []
    for adapter in adapters:
        live = [version for version in adapter["versions"] if version["alias"]]
        for version in live or [None]:
            rows.append(
                [
                    adapter["adapter"] if version is None else version["alias"],
                    "the base: nothing is live" if version is None else version["version"],
                    None if version is None else moment(version["state_at"]),
                    _evidence_now(adapter),
                    _bad(adapter["disliked"]),
                    _advantage(adapter["against_base"]),
                    adapter["corrections_waiting"],
                    "; ".join(adapter["wrong"]),
                ]
            )
    columns = [
        "name", "serves", "since", "drift: evidence of threshold", "would be called bad",
        "better than the base by", "corrections waiting", "what is wrong",
    ]  # fmt: skip
    return ["<h3>What is served now</h3>", table(columns, rows)] if rows else []


def _evidence_now(adapter: Mapping[str, Any]) -> str | None:
    drift = adapter["drift"]
    if drift is None:
        return None
    if drift["phase"] == "reference":
        return f"none yet: {drift['reference']} prompts of the reference have come"
    figures = f"{drift['statistic']:.1f} of {drift['threshold']:.1f}"
    return figures if drift["phase"] == "watching" else f"{figures}: {drift['phase']}"


def _bad(disliked: Mapping[str, Any] | None) -> str | None:
    if disliked is None:
        return None
    return (
        f"{disliked['share']:.0%} ({disliked['low']:.0%} to {disliked['high']:.0%}) by "
        f"{disliked['words']} words on {disliked['answers']} answers"
    )


def _best(against_base: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    return max(against_base.items(), key=lambda found: found[1]["advantage"], default=None)


def _advantage(against_base: Mapping[str, Any]) -> str | None:
    best = _best(against_base)
    if best is None:
        return None
    channel, found = best
    low, high = 100 * found["low"], 100 * found["high"]
    points = f"{100 * found['advantage']:+.0f} points ({low:+.0f} to {high:+.0f})"
    return f"{points} of {channel} answers, by {found['pairs']} pairs"


def _traffic(found: Mapping[str, Any], step: float, marks: Marks) -> list[str]:
    slots = found["over_time"]
    if not slots:
        return ["<p>No traffic reached an engine.</p>"]
    from cli.report import plots

    of = length(step)
    told = [
        "<h3>Traffic</h3>",
        figure(plots.traffic(slots, step, marks),
               f"Requests in {of}, by what answered. Dashed lines: a version went live."),
        figure(plots.latency(slots, step, marks), f"Latency of the answers in {of}."),
    ]  # fmt: skip
    if any(slot["stages_ms"] for slot in slots):
        text = f"Streams in {of}: where the mean one's time goes."
        told.append(figure(plots.stages(slots, step, marks), text))
    told.append(figure(plots.tokens(slots, step, marks), f"Tokens in {of}."))
    return told


def _budget(found: Mapping[str, Any], until: float, marks: Marks) -> list[str]:
    days = found["error_budget"]["over_time"]
    if len(days) < 2:  # of one day the number above says it all
        return []
    from cli.report import plots

    text = (
        "Of the errors that 30 days allow, each day: 0 % is all used up, and "
        "less than -100 % is drawn there."
    )
    picture = plots.budget([("left", days)], (days[0]["at"], until), marks)
    return ["<h3>Error budget</h3>", figure(picture, text)]


def _answers(found: Mapping[str, Any], step: float, marks: Marks) -> list[str]:
    slots = found["over_time"]
    if all(slot["out_of_form"] is None and slot["refused"] is None for slot in slots):
        return []
    from cli.report import plots

    text = "Shares of answers that are out of form, and that begin as refusals do: a hint."
    picture = plots.answers(slots, step, marks)
    return ["<h3>What answers are like</h3>", figure(picture, text)]


def _quality(found: Mapping[str, Any], span: tuple[float, float], marks: Marks) -> list[str]:
    points = found["quality_over_time"]
    if not points and not found["quality"]["judged"]:
        return []
    from cli.report import bars, plots

    told = ["<h3>What people say</h3>"]
    if points:
        text = (
            "Of the answers that people judged in the 7 days before, the share called good. The "
            "truth lies in the band with 95 % certainty."
        )
        told.append(figure(plots.called_good(points, span, marks), text))
    if found["quality"]["judged"]:
        rows = [("all answers", found["quality"])]
        rows += [
            (version["version"], version["quality"])
            for adapter in found["adapters"]
            for version in adapter["versions"]
            if version["quality"]["judged"]
        ]
        text = "Of the answers that people judged (how many), the share called good, by version."
        told.append(figure(bars.quality(rows), text))
    return told


def _evidence(adapters: Adapters, span: tuple[float, float], marks: Marks) -> list[str]:
    """Estimates of the whole, where receipts remember them: what they are now says the table."""
    disliked, better = [], []
    for adapter in adapters:
        now = {"at": span[1], **adapter}
        points = [(one["at"], one["disliked"]) for one in [*adapter["past"], now]]
        disliked.append(
            (
                adapter["adapter"],
                [(at, d["share"], d["low"], d["high"]) for at, d in points if d],
            )
        )
        bests = [(one["at"], _best(one["against_base"] or {})) for one in [*adapter["past"], now]]
        better.append(
            (
                adapter["adapter"],
                [(at, b[1]["advantage"], b[1]["low"], b[1]["high"]) for at, b in bests if b],
            )
        )
    told = []
    for lines, unit, lowest, text in (
        (disliked, "would be called bad", 0.0,
         "Answers that people would call bad, if those who speak are like those who don't: at "
         "each receipt, and now. The truth lies in the interval with 95 %, at all times."),
        (better, "better than the base", -1.0,
         "The base's share of bad answers less the adapter's, where it helps most: at each "
         "receipt, and now, with its 95 % interval. Above 0 the adapter helps."),
    ):  # fmt: skip
        if shown := [(name, points) for name, points in lines if points]:
            from cli.report import plots

            told.append(figure(plots.intervals(shown, span, marks, unit, lowest), text))
    return ["<h3>Quality, estimated</h3>", *told] if told else []


def _drift(adapters: Adapters, span: tuple[float, float], marks: Marks) -> list[str]:
    rows, lines = [], []
    for adapter in adapters:
        now = adapter["drift"]
        if not now or now["phase"] == "reference":
            continue
        rows.append((adapter["adapter"], now))
        points = [(one["at"], one["drift"]) for one in adapter["past"] if one["drift"]]
        lines.append(
            (
                adapter["adapter"],
                [(at, e["statistic"] / e["threshold"]) for at, e in [*points, (span[1], now)]],
            )
        )
    if not rows:
        return []
    from cli.report import bars, plots

    text = "Now: beyond the line, prompts have changed since the live version's promotion."
    told = ["<h3>Drift</h3>", figure(bars.drift(rows), text)]
    if any(len(points) > 1 for _, points in lines):
        text = "The evidence of its threshold, as receipts remember it, and now."
        told.append(figure(plots.evidence(lines, span, marks), text))
    return told


def _gains(decisions: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            f"{found['adapter']}, {moment(found['at'])[:16]}",
            found["expected"]["gain_at_most"],
            (found["realised"] or {}).get("gain"),
        )
        for found in decisions
        if found["kind"] == "retrain" and found["expected"].get("gain_at_most") is not None
    ]
    if not rows:
        return []
    from cli.report import bars

    text = (
        "Of each retraining: the most that could be gained (the share of corrected answers that "
        "were wrong), and what its version gained on held-out rows."
    )
    return ["<h3>Expected against realised gain</h3>", figure(bars.gains(rows), text)]


def _versions(adapters: Adapters) -> list[str]:
    rows = [
        [
            moment(version["created_at"]),
            version["version"],
            _state(version),
            version["exact"],
            version["parity"],
            version["effect"],
            version["requests"],
            f"{version['verdict']}: {version['summary'] or 'no reason was recorded'}",
        ]
        for adapter in adapters
        for version in reversed(adapter["versions"])
    ]
    columns = ["made", "version", "state", "exact", "parity", "effect", "requests", "verdict"]
    return ["<h3>Versions</h3>", table(columns, rows)] if rows else []


def _state(version: Mapping[str, Any]) -> str:
    if version["waits"]:
        return f"{version['state']} (waits for a person's word)"
    name = version["alias"]
    return f"{version['state']} ({name})" if name else str(version["state"])


def _decisions(decisions: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        [moment(found["at"]), found["adapter"], found["kind"], found["words"], found["by"]]
        for found in decisions
    ]
    columns = ["when", "adapter", "decision", "receipt", "by"]
    return ["<h3>Decisions</h3>", table(columns, rows)] if rows else []


def _jobs(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            moment(job["created_at"]),
            job["id"],
            job["adapter"],
            job["trigger"],
            job["state"],
            job["seconds"],
            job["loss"],
            job["version"],
            ": ".join(part for part in (job["verdict"], job["summary"]) if part),
        ]
        for job in jobs
    ]
    columns = ["when", "job", "adapter", "asked by", "state", "seconds", "loss", "version",
               "verdict"]  # fmt: skip
    return ["<h3>Jobs</h3>", table(columns, rows)] if rows else []
