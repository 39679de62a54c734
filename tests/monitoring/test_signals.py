"""What is said of an answer without keeping it: format, refusal, repetition."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.refusals import PATTERNS, refuses
from monitoring.signals import Format, Signals, observe, repetition

REFUSALS = {
    "English": ["I'm sorry, but I can't help with that.", "As an AI language model, I have no",
                "I am unable to assist with this request.", "I’m not able to provide that.",
                "Sorry, I cannot do that.", "I'm afraid I won't do that."],
    "German": ["Es tut mir leid, aber ich kann dabei nicht helfen.",
               "Leider kann ich Ihnen diese Frage nicht beantworten.", "Als Sprachmodell habe ich"],
    "French": ["Je suis désolé, mais je ne peux pas vous aider.", "Je ne peux pas répondre à"],
    "Spanish": ["Lo siento, pero no puedo ayudar con eso.", "No puedo proporcionar eso."],
    "Portuguese": ["Sinto muito, mas não posso ajudar com isso."],
    "Italian": ["Mi dispiace, ma non posso aiutarti."],
    "Dutch": ["Sorry, maar daar kan ik je niet mee helpen.", "Het spijt me, ik kan dat niet doen."],
    "Polish": ["Przykro mi, ale nie mogę pomóc.", "Niestety nie mogę tego zrobić."],
    "Turkish": ["Üzgünüm, ama bu konuda yardımcı olamam."],
    "Russian": ["Извините, но я не могу помочь с этим."],
    "Chinese": ["很抱歉，我无法为您提供这个信息。", "我不能回答这个问题。"],
    "Japanese": ["申し訳ありませんが、そのご質問にはお答えできません。"],
}  # fmt: skip
ANSWERS = (
    "I'm sorry to hear that your parcel is late.", "I can help with that.", "I don't know.",
    "Sorry for the delay; it left on Monday.", "You can't do that here; go to settings.",
    "Es tut mir leid, dass Ihr Paket zu spät kommt.", "Kann ich nicht bestätigen, aber hier ist",
    "Je ne peux que vous remercier.", "Lo siento mucho por la demora.", "No puedo más que decir",
    "Mi dispiace per il ritardo.", "Sorry dat het zo lang duurde.", "Извините за задержку.",
    "抱歉给您带来不便，我们已经发货。", "すみません、遅れました。", "",
)  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["city", "parcels"],
    "properties": {"city": {"type": "string"}, "parcels": {"type": "integer"}},
    "additionalProperties": False,
}
LETTER = (
    "The parcel left Leipzig on Monday and should be with you by Thursday at noon. If it is not "
    "there by then, please answer this mail and we will ask the carrier where it went."
)


def test_refusals_are_known_in_every_language_that_is_listed() -> None:
    assert REFUSALS.keys() == PATTERNS.keys()
    for language, examples in REFUSALS.items():
        for example in examples:
            assert refuses(example), (language, example)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert not refuses(answer)


def test_a_refusal_after_a_long_answer_is_none() -> None:
    assert refuses("  **I'm sorry**, but".replace("*", "") + " I can't help with that.")
    assert not refuses(LETTER + " I'm sorry, but I can't help with that.")


def test_a_label_is_valid_when_it_is_one_of_the_adapters() -> None:
    form = Format.of({"kind": "label", "labels": ["billing", "delivery"]})
    assert form is not None
    assert form.valid(" billing\n") is True
    assert form.valid("Billing, I think") is False and form.valid("") is False


def test_a_json_answer_is_held_against_the_adapters_schema() -> None:
    form = Format.of({"schema": SCHEMA})
    assert form is not None
    assert form.valid('{"city": "Leipzig", "parcels": 2}') is True
    for wrong in ('{"city": "Leipzig"}', '{"city": 1, "parcels": 2}', "Leipzig", "",
                  '{"city": "L", "parcels": 2, "more": 1}', '{"city"', "[" * 99_999):  # fmt: skip
        assert form.valid(wrong) is False, wrong


def test_what_kind_of_answers_a_version_gives_may_come_from_its_evaluation() -> None:
    form = Format.of({}, kind="json")
    assert form is not None
    assert (form.valid("{}"), form.valid("no")) == (True, False)
    assert Format.of({}, kind="text") is None
    assert Format.of({}, kind="label") is None  # which labels, nobody said
    assert Format.of({"kind": "text", "labels": ["a"]}) is None
    assert Format.of({"kind": "json", "schema": {"type": "nonsense"}}).valid("{}") is True  # type: ignore[union-attr]


def test_no_schema_can_make_the_router_fetch_or_think_for_ever() -> None:
    elsewhere = Format.of({"schema": {"$ref": "http://127.0.0.1:9/schema"}})
    endless = Format.of({"schema": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}})
    assert elsewhere is not None and endless is not None
    assert elsewhere.valid("{}") is None and endless.valid("{}") is None
    patterns = Format.of(
        {
            "schema": {
                "type": "object",
                "properties": {
                    "pattern": {
                        "$schema": "https://json-schema.org/draft/2020-12/schema",
                        "type": "string",
                        "pattern": "^(a+)+$",
                    }
                },
                "patternProperties": {"^(a+)+$": {}},
                "additionalProperties": False,
            }
        }
    )
    assert patterns is not None
    hard = "a" * 64 + "!"
    assert (
        patterns.valid(json.dumps({"pattern": hard, hard: 1})) is True
    )  # or in some thousand years
    assert patterns.valid('{"pattern": 1}') is False


def test_what_has_the_format_is_no_refusal() -> None:
    form = Format.of({"labels": ["I can't help with that"]})
    assert observe("I can't help with that", form) == Signals(22, True, False, 0.0)
    assert observe("I can't help with this", form) == Signals(22, False, True, 0.0)


def test_of_an_answer_that_was_cut_off_only_its_beginning_is_judged() -> None:
    form = Format.of({"kind": "json"})
    assert observe("I'm sorry, but I can't", form, whole=False) == Signals(None, None, True, 0.0)


def test_a_loop_is_told_from_prose() -> None:
    assert repetition(LETTER) == 0.0
    assert repetition("Yes. " * 3) == 0.0, "too short to say"
    assert repetition("Please wait a moment. " * 40) > 0.9
    assert repetition(LETTER + " and then" + " we will ask the carrier" * 40) > 0.6
    assert repetition(LETTER * 20 + " stop" * 2000) > 0.9, "its end is what is looked at"
    assert repetition("我们会联系承运商。" * 40) > 0.8
    assert (
        repetition("订单已于周一离开莱比锡，预计周四中午之前送达；如果届时没有收到，请回复此邮件。")
        == 0.0
    )


@settings(max_examples=40)
@given(st.text(max_size=300))
def test_signals_of_any_text_are_in_range(text: str) -> None:
    seen = observe(text, Format.of({"schema": SCHEMA}))
    assert seen.chars == len(text) and 0.0 <= seen.repetition < 1.0
    assert seen.valid in (True, False) and seen.refused in (True, False)
