"""Faults by name, each put into a clean set alone: what is changed, on which lines, what the audit
must say to it, and what else the fault is besides."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.train.audit import clean
from tests.train.audit.clean import Record, record

SECRETS = {
    "private-key": "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEAq7\n-----END PRIVATE KEY-----",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "sk": "sk-proj-Zb3kQ9vX7Lm2Nc8Rt5Yw1Ph4",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "password": "password=hunter2-and-more",
}
CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"
EMAIL, PHONE, ADDRESS = "jane.doe@mail.test.org", "+49 30 901820 45", "192.168.17.23"
SSN = "536-22-8714"


@dataclass(frozen=True)
class Fault:
    """`lines` None: the finding is about the whole. `change` edits the rows (and may append)."""

    code: str
    change: Callable[[list[Any]], None]
    lines: tuple[int, ...] | None = (5,)
    base: Callable[[], list[Record]] = clean.sentences
    implied: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)
    validation: Callable[[], list[Record]] | None = None


def _pairs() -> list[Record]:
    """Sentences with a worse answer beside each."""
    return [
        {
            "prompt": row["messages"][:-1],
            "chosen": row["messages"][-1]["content"],
            "rejected": "We have read this and will think about it.",
        }
        for row in clean.sentences()
    ]


def _no_preference(rows: list[Any]) -> None:
    rows[4]["rejected"] = rows[4]["chosen"].upper()


def answer(text: str | Callable[[str], str], *lines: int) -> Callable[[list[Any]], None]:
    """Put another answer on these lines (5)."""

    def change(rows: list[Any]) -> None:
        for line in lines or (5,):
            last = rows[line - 1]["messages"][-1]
            last["content"] = text if isinstance(text, str) else text(last["content"])

    return change


def ask(text: Callable[[str], str], *lines: int) -> Callable[[list[Any]], None]:
    """Put another question on these lines (5)."""

    def change(rows: list[Any]) -> None:
        for line in lines or (5,):
            turn = rows[line - 1]["messages"][-2]
            turn["content"] = text(turn["content"])

    return change


def line(value: Any) -> Callable[[list[Any]], None]:
    """Put something else in the place of line 5."""

    def change(rows: list[Any]) -> None:
        rows[4] = value

    return change


def _append(*make: Callable[[list[Any]], Any]) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        rows.extend([one(rows) for one in make])

    return change


def _again(row: Record, answer: str = "") -> Record:
    turn = row["messages"][-2]["content"]
    return record(turn, answer or row["messages"][-1]["content"], system=clean.SYSTEM)


def _near(rows: list[Any]) -> None:
    for row in rows[:20]:
        again = _again(row)
        again["messages"][-2]["content"] += " Thanks!"
        rows.append(again)


def _one_class(rows: list[Any]) -> None:
    for row in rows[:-25]:
        row["messages"][-1]["content"] = "late"


def _annotators(rows: list[Any]) -> None:
    for index, row in enumerate(rows[:40]):
        row["label_a"], row["label_b"] = "yes", "no" if index % 2 else "yes"
        if index % 4 > 1:
            row["label_a"] = "no"


def _facts(rows: list[Any]) -> None:
    words = [f"{a}{b}{c}" for a in "bdfglm" for b in ("ara", "enu", "ovi") for c in "klnprstvxz"]
    for index, row in enumerate(rows):
        row["messages"][-1]["content"] = (
            f"{words[index % 180].title()}{index} signed {words[(index * 7) % 180]}{index}ston."
        )


def _some_validation() -> list[Record]:
    return [
        record(f"Why does {w} matter to gardeners in spring number {w}?", "It does.", customer_id=w)
        for w in ("rain", "soil", "light", "wind", "frost")
    ]


def _with_customer(rows: list[Any]) -> None:
    rows[4]["customer_id"] = "soil"


def _asks_the_same(rows: list[Any]) -> None:
    rows[4] = record(
        "Why does rain matter to gardeners in spring number rain?",
        "We send a new one today.",
        system=clean.SYSTEM,
    )


def _asks_nearly_the_same(rows: list[Any]) -> None:
    rows[4] = record(
        "WHY does rain matter to gardeners, in spring, number rain???",
        "We send a new one today.",
        system=clean.SYSTEM,
    )


def _turns(*roles: str, content: Any = "Where is it?") -> Record:
    return {"messages": [{"role": role, "content": content} for role in roles]}


def _no_system(rows: list[Any]) -> None:
    del rows[4]["messages"][0]


def _other_systems(rows: list[Any]) -> None:
    rows[4]["messages"][0]["content"] = "Be brief."


def _foreign_system(rows: list[Any]) -> None:
    for row in rows:
        row["messages"][0]["content"] = "Отвечай на вопросы покупателей одним предложением."


def _cut(rows: list[Any]) -> None:
    del rows[80:]


def _to_two_hundred(rows: list[Any]) -> None:
    del rows[200:]


LONG = " ".join(f"Then we look at part {word} of it once more." for word in clean._NAMES * 8)

FAULTS: dict[str, Fault] = {
    "bad-json": Fault("broken-json", line('{"messages": [')),
    "a-list": Fault("broken-json", line([1, 2])),
    "no-messages": Fault("no-messages", line({"prompt": "a", "completion": "b"})),
    "only-assistant": Fault("no-messages", line(_turns("assistant"))),
    "unknown-role": Fault("wrong-role", line(_turns("human", "assistant"))),
    "system-in-the-middle": Fault("wrong-role", line(_turns("user", "system", "assistant"))),
    "last-is-user": Fault("no-answer", line(_turns("system", "user"))),
    "content-is-a-number": Fault("content-not-text", line(_turns("user", content=7))),
    "empty-answer": Fault("empty-answer", answer("  ")),
    "empty-question": Fault("empty-message", ask(lambda _: "")),
    "two-questions-in-a-row": Fault(
        "roles-out-of-turn",
        lambda rows: rows[4]["messages"].insert(1, {"role": "user", "content": "Hi."}),
    ),
    "exact-duplicates": Fault(
        "exact-duplicate", _append(lambda r: _again(r[2]), lambda r: _again(r[3])), (321, 322)
    ),
    "near-duplicates": Fault("near-duplicate", _near, tuple(range(321, 341))),
    "contradicting-labels": Fault(
        "contradiction", _append(lambda r: _again(r[4], "late")), (5, 321), clean.labels
    ),
    "contradicting-texts": Fault(
        "contradiction", _append(lambda r: _again(r[4], "We can do nothing here.")), (5, 321)
    ),
    "leak-exact": Fault("leak-exact", _asks_the_same, validation=_some_validation),
    "leak-near": Fault("leak-near", _asks_nearly_the_same, validation=_some_validation),
    "leak-customer": Fault("leak-group", _with_customer, validation=_some_validation),
    "rare-class": Fault("rare-class", answer("fire", 5, 9), (5, 9), clean.labels),
    "dominant-class": Fault(
        "dominant-class", _one_class, None, clean.labels, frozenset({"rare-class"})
    ),
    "label-variant": Fault(
        "label-variants", answer("Late.", 5, 9, 15, 20, 25), (5, 9, 15, 20, 25), clean.labels
    ),
    "annotators-disagree": Fault(
        "low-agreement", _annotators, tuple(i + 1 for i in range(40) if i % 4 in (1, 2))
    ),
    "too-long": Fault("truncated", answer(LONG), implied=frozenset({"answer-length-outlier"})),
    "answer-beyond-the-end": Fault(
        "answer-truncated",
        ask(lambda text: text + " " + LONG),
        implied=frozenset({"prompt-length-outlier"}),
    ),
    "long-prompt": Fault(
        "prompt-length-outlier", ask(lambda text: text + " " + LONG), options={"max_length": 4096}
    ),
    "long-answer": Fault("answer-length-outlier", answer(LONG), options={"max_length": 4096}),
    "placeholder": Fault(
        "placeholder-answer", answer("N/A"), implied=frozenset({"answer-length-outlier"})
    ),
    "no-full-stop": Fault("unfinished-answer", answer(lambda text: text[:-8])),
    "ellipsis": Fault("unfinished-answer", answer(lambda text: text[:-6] + "…")),
    "cut-json": Fault(
        "unfinished-answer",
        answer(lambda text: text[:-3]),
        base=clean.objects,
        implied=frozenset({"invalid-json-answer"}),
    ),
    "copied": Fault("answer-copied", lambda rows: answer(rows[4]["messages"][-2]["content"])(rows)),
    "other-assistant": Fault(
        "boilerplate-answer", answer("As an AI language model, I have no kettle to send you.")
    ),
    "refusal": Fault("boilerplate-answer", answer("I'm sorry, but I can't help with the kettle.")),
    "html": Fault("html-left-over", answer(lambda text: f"<p>{text}</p>&nbsp;")),
    "text-among-json": Fault("mixed-answer-kinds", answer("It is the kettle."), base=clean.objects),
    "wrong-json": Fault(
        "invalid-json-answer", answer('{"thing": kettle, "problem": "late"}'), base=clean.objects
    ),
    "against-schema": Fault(
        "schema-violation",
        answer(json.dumps({"thing": "kettle", "problem": "ghost"})),
        base=clean.objects,
        options={"schema": clean.SCHEMA},
    ),
    "nul": Fault("control-character", answer(lambda text: text[:9] + "\0" + text[9:])),
    "replacement": Fault("broken-encoding", answer(lambda text: text[:9] + "\ufffd" + text[9:])),
    "mojibake": Fault("broken-encoding", ask(lambda text: text + " Merci, AndrÃ©.")),
    "cyrillic": Fault("minority-script", answer("Отправим сегодня.")),
    "no-preference": Fault("no-preference", _no_preference, base=_pairs),
    "german": Fault(
        "minority-language",
        answer("Das Paket ist noch nicht bei uns, und wir haben auch keine Nachricht für Sie."),
    ),
    "no-system": Fault("no-system-prompt", _no_system),
    "two-systems": Fault("several-system-prompts", _other_systems, None),
    "foreign-system": Fault("system-script-differs", _foreign_system, tuple(range(1, 321))),
    **{
        f"secret-{name}": Fault("secret", ask(lambda text, value=value: f"{text} {value}"))
        for name, value in SECRETS.items()
    },
    "card": Fault("credit-card", ask(lambda text: f"{text} My card is {CARD}.")),
    "iban": Fault("iban", ask(lambda text: f"{text} Pay to {IBAN} please.")),
    "ssn": Fault("social-security-number", ask(lambda text: f"{text} I am {SSN}.")),
    "email": Fault("email-address", ask(lambda text: f"{text} Write to {EMAIL}.")),
    "phone": Fault("phone-number", ask(lambda text: f"{text} Call {PHONE}.")),
    "ip": Fault("ip-address", ask(lambda text: f"{text} It is at {ADDRESS}.")),
    "few": Fault("too-few-examples", _cut, None),
    "small": Fault("small-data", _to_two_hundred, None),
    "facts": Fault("looks-like-lookup", _facts, None),
}
