"""An account of a time: figures that add up, and receipts in words."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from monitoring import account, words
from registry import Registry
from registry.decisions import Decision
from registry.errors import NotFound
from registry.history import Judgement, Past
from tests.monitoring.scene import Scene
from tests.monitoring.tickets import stream


def _past(at: float, status: int = 200, latency: float = 10.0, fallback: str = "") -> Past:
    return Past(at, "acme", "support", None, fallback, status, latency, 1.0, 2.0, 30, 20)


def test_traffic_adds_up_and_failed_requests_have_no_part_in_times() -> None:
    requests = [_past(1, latency=float(n)) for n in range(1, 101)]
    requests += [_past(2, status=503, latency=9_000), _past(3, fallback="deadline")]
    found = account.traffic(requests, price_per_million=2.0)
    assert (found["requests"], found["errors"], found["fallbacks"]) == (102, 1, {"deadline": 1})
    assert found["tokens"] == {"prompt": 3060, "completion": 2040}
    assert found["cost"] == pytest.approx(0.0102)
    assert found["latency_ms"]["p99"] < 100
    assert account.traffic([])["latency_ms"] is None


def test_slots_begin_at_whole_steps_and_quiet_ones_are_left_out() -> None:
    found = account.over_time([_past(125.0), _past(61.0), _past(3_700.0)], 60.0)
    assert [(slot["at"], slot["requests"]) for slot in found] == [(60, 1), (120, 1), (3660, 1)]


def test_answers_are_counted_by_who_gave_them_and_failures_are_nobodys() -> None:
    version = Past(5.0, "acme", "support", "a" * 64, "", 200, 9.0, 1.0, 2.0, 30, 20)
    requests = [version, version, _past(6.0), _past(7.0, status=503), _past(8.0, status=429)]
    (slot,) = account.over_time(requests, 10.0, {"a" * 64: "support@aaaaaaaaaaaa"})
    assert slot["by"] == {"support@aaaaaaaaaaaa": 2, "base": 1}
    assert slot["statuses"] == {"429": 1, "503": 1}


def test_the_routers_prices_make_the_cost_unless_another_is_named() -> None:
    paid = [replace(_past(1.0), cost=0.5), replace(_past(2.0), cost=0.25), _past(3.0)]
    assert account.traffic(paid)["cost"] == 0.75
    assert account.traffic(paid, price_per_million=0.0)["cost"] == 0
    assert account.traffic([_past(1.0)])["cost"] is None


def test_only_streams_say_where_their_time_went() -> None:
    streams = [replace(_past(1.0), prefill_ms=20.0 + n, decode_ms=40.0) for n in (0, 10)]
    found = account.traffic([*streams, _past(2.0), replace(streams[0], status=500)])
    assert found["stages_ms"] == {"queue": 1.0, "prefill": 25.0, "decode": 40.0}
    assert account.traffic([_past(1.0)])["stages_ms"] is None


def test_shares_of_answers_are_of_those_that_could_be_read() -> None:
    found = account.traffic(
        [replace(_past(1.0), valid=False, refused=False), replace(_past(1.0), valid=True), _past(1)]
    )
    assert (found["out_of_form"], found["refused"]) == (0.5, 0.0)
    assert account.traffic([_past(1.0)])["out_of_form"] is None


def test_quality_over_time_looks_seven_days_back_from_each_moment() -> None:
    day = 86_400.0
    said = [Judgement(at * day, "acme", "support", None, good) for at, good in
            ((1.0, False), (7.5, True), (8.5, True))]  # fmt: skip
    told = account.quality_over_time(said, 7 * day, 9.25 * day, day)
    assert [(point["at"] / day, point["judged"], point["share"]) for point in told] == [
        (8.0, 2, 0.5), (9.0, 2, 1.0), (9.25, 2, 1.0),
    ]  # fmt: skip
    low, high = told[0]["interval"]
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("seconds", "step"), [(60, 10), (3600, 300), (86_400, 3600), (7 * 86_400, 6 * 3600)]
)
def test_a_time_has_at_most_48_slots(seconds: float, step: float) -> None:
    assert account.step_of(seconds) == step
    assert seconds / step <= 48


def test_an_account_has_all_of_one_tenant_and_nothing_of_another(
    sqlite_registry: Registry,
) -> None:
    scene = Scene(sqlite_registry)
    sqlite_registry.tenants.create("lex")
    scene.send(stream(1, 4))
    scene.send(stream(2, 2), fallback="deadline")
    scene.send(stream(1, 4), shadow_of="chatcmpl-0")
    scene.correct(3)
    sqlite_registry.decisions.record("acme", "support", "hold", "cooldown")
    now = time.time()
    told = account.gather(sqlite_registry, now - 60, now)
    acme, lex = told["tenants"]
    assert told["complete"]
    assert (acme["requests"], acme["fallbacks"]) == (9, {"deadline": 2})
    assert sum(slot["requests"] for slot in acme["over_time"]) == 9
    assert (acme["quality"]["judged"], acme["quality"]["share"]) == (3, 0.0)
    (adapter,) = acme["adapters"]
    assert adapter["corrections_waiting"] == 3
    assert [version["alias"] for version in adapter["versions"]] == ["support"]
    assert [(job["state"], job["verdict"]) for job in acme["jobs"]] == [("succeeded", "promote")]
    assert [decision["kind"] for decision in acme["decisions"]] == ["hold"]
    assert (lex["requests"], lex["adapters"], lex["jobs"]) == (0, [], [])
    alone = account.gather(sqlite_registry, now - 60, now, "lex")
    assert [found["tenant"] for found in alone["tenants"]] == ["lex"]
    with pytest.raises(NotFound):
        account.gather(sqlite_registry, now - 60, now, "nobody")


def test_a_version_has_all_names_that_it_serves_and_one_that_waits_says_so(
    sqlite_registry: Registry,
) -> None:
    Scene(sqlite_registry)
    sqlite_registry.aliases.ensure("acme", "helpdesk", "support")
    sqlite_registry.aliases.flip("acme", "helpdesk", "a" * 64)
    sqlite_registry.versions.publish(
        "acme", "support", "b" * 64, manifest={}, evaluation={}, verdict="promote"
    )
    sqlite_registry.decisions.record(
        "acme", "support", "hold", "waiting-for-approval", digest="b" * 64
    )
    now = time.time()
    (acme,) = account.gather(sqlite_registry, now - 60, now)["tenants"]
    (adapter,) = acme["adapters"]
    assert [(v["alias"], v["waits"]) for v in adapter["versions"]] == [
        ("helpdesk, support", False), (None, True),
    ]  # fmt: skip


def test_what_was_before_is_left_out(sqlite_registry: Registry) -> None:
    scene = Scene(sqlite_registry)
    scene.send(stream(1, 4))
    later = time.time() + 10
    (acme,) = account.gather(sqlite_registry, later, later + 10)["tenants"]
    assert (acme["requests"], acme["jobs"], acme["over_time"]) == (0, [], [])


NAMES = {"a" * 64: "support@aaaaaaaaaaaa", "b" * 64: "support@bbbbbbbbbbbb"}


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("promote", {"rule": "effect-and-parity", "evidence": {"seconds": 3.14}},
         "support@bbbbbbbbbbbb went live, 3.1 s after (effect-and-parity)"),
        ("reject", {"evidence": {"summary": "worse than its parent"}},
         "support@bbbbbbbbbbbb gets no traffic: worse than its parent"),
        ("watch", {"evidence": {"statistic": 12.3, "threshold": 9.9}},
         "prompts have changed: evidence 12.3 against a threshold of 9.9"),
        ("hold", {"rule": "cooldown", "evidence": {"reason": "an hour has not passed"}},
         "no retraining: an hour has not passed"),
        ("retrain",
         {"rule": "drift-and-corrections", "expected": {"gain_at_most": 0.6},
          "realised": {"outcome": "promoted", "gain": 0.37}},
         "a retraining was queued: drift-and-corrections; expected at most +60 points; promoted; "
         "gained +37 points on held-out rows"),
        ("retrain", {"rule": "r", "expected": {}, "realised": None},
         "a retraining was queued: r; not scored yet"),
        ("shadow", {"evidence": {"reason": "copies first"}},
         "support@bbbbbbbbbbbb gets copies of requests, and answers nobody: copies first"),
        ("canary", {"rule": "stage-passed", "evidence": {"weight": 0.1, "reason": "no harm"}},
         "support@bbbbbbbbbbbb answers 10% of requests: no harm"),
        ("promote", {"rule": "no-harm-proven", "evidence": {"reason": "harm is ruled out"}},
         "support@bbbbbbbbbbbb went live: harm is ruled out"),
        ("reject", {"rule": "canary-harm:invalid", "evidence": {"reason": "invalid 60% of 20"}},
         "support@bbbbbbbbbbbb gets no traffic: invalid 60% of 20"),
        ("rollback", {"rule": "quality-down", "evidence": {"reason": "more answers are invalid"}},
         "support@bbbbbbbbbbbb was taken back: more answers are invalid"),
        ("watch", {"rule": "pipeline-accepted", "evidence": {"reason": "it stayed so"}},
         "messages are built in a new way: it stayed so"),
        ("hold", {"rule": "rollout-pipeline-changed", "evidence": {"reason": "no user text"}},
         "support@bbbbbbbbbbbb goes no further meanwhile: no user text"),
        ("hold", {"rule": "waiting-for-approval", "evidence": {"reason": "no harm"}},
         "support@bbbbbbbbbbbb may go live, and waits for a person's word: no harm"),
        ("watch", {"rule": "accepted", "evidence": {"reason": "ada asked for it"}},
         "traffic and answers as they are count as usual from here: ada asked for it"),
        ("ask", {"by": "ada", "rule": "accept"},
         "ada asked that what there is counts as usual"),
        ("ask", {"by": "ada"}, "ada asked for a retraining"),
        ("rollback", {"evidence": {"alias": "support", "from": "a" * 64, "to": "b" * 64}},
         "support went back from support@aaaaaaaaaaaa to support@bbbbbbbbbbbb"),
    ],
)  # fmt: skip
def test_a_receipt_is_a_sentence(kind: str, fields: dict[str, object], said: str) -> None:
    values: dict[str, object] = {"rule": "", "evidence": {}, "expected": {}, "realised": None}
    decision = Decision(
        tenant="acme", adapter="support", kind=kind, digest="b" * 64, **{**values, **fields}
    )
    assert words.of_decision(decision, NAMES) == said
