"""Write the example tenants' files from their patterns: `python examples/generate.py [FOLDER]`.

Seeded: the committed files come out bit for bit. Knows the format of an export and nothing about
training. Training and held-out rows are built from disjoint lists of sentences (`patterns.toml`),
so no sentence of a held-out row, greetings and closings included, has the shape of one that was
trained on; only the words in the slots are shared.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20_261
ACME_SYSTEM = "Route the ticket to one label."
LEX_SYSTEM = "Turn the clause into JSON."
PEOPLE = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Elena",
    "Felix",
    "Grace",
    "Henry",
    "Iris",
    "James",
    "Maria",
    "Nina",
    "Oscar",
    "Paula",
    "Rosa",
    "Tom",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NOTICE = (5, 7, 10, 12, 14, 15, 20, 21, 25, 28, 30, 35, 40, 45, 50, 60, 75, 80, 90)
CLAUSE_LAW, CLAUSE_EXTRA = 0.45, 0.4
CLAUSE_PERIOD = 0.7

Row = dict[str, Any]
Table = dict[str, Any]


def in_words(number: int) -> str:
    """English words of a number below 100."""
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def fill(rng: random.Random, pattern: str, slots: dict[str, list[str]]) -> str:
    """The pattern with each slot filled; two slots of one name get different words."""
    used: set[str] = set()

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        made = {
            "order": f"order {rng.choice(('#', 'no. ', 'AC-', ''))}{rng.randint(1000, 99999)}",
            "amount": f"{rng.randint(3, 400)} {rng.choice(('euro', 'dollars', 'EUR', 'pounds'))}",
            "day": rng.choice(DAYS),
            "count": str(rng.randint(2, 40)),
            "code": f"{rng.choice('ABCDEFGHJKLM')}{rng.choice('NPQRSTUVW')}{rng.randint(10, 99)}",
            "person": rng.choice(PEOPLE),
            "section": f"{rng.randint(1, 19)}.{rng.randint(1, 9)}",
        }
        if name in made:
            return made[name]
        word = rng.choice([w for w in slots[name] if w not in used])
        used.add(word)
        return word

    return re.sub(r"\{(\w+)\}", value, pattern)


def with_typo(rng: random.Random, text: str) -> str:
    """The text with two neighbouring letters of one longer word swapped, or one letter missing."""
    places = [m.start() for m in re.finditer(r"(?<=[a-z])[a-z]{3,}", text)]
    if not places:
        return text
    at = rng.choice(places)
    if rng.random() < 0.5:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :]


def ticket(rng: random.Random, body: str, slots: dict[str, list[str]], frame: Table) -> str:
    """A ticket around its one telling sentence: greeting, aside, closing, typos, shouting."""
    body = fill(rng, body, slots)
    if rng.random() < 0.02:
        body = body.upper()
    elif rng.random() < 0.12:
        body = with_typo(rng, body)
    parts = [body]
    if rng.random() < 0.3:
        parts.insert(rng.randint(0, 1), fill(rng, rng.choice(frame["asides"]), slots))
    if rng.random() < 0.45:
        parts.insert(0, rng.choice(frame["greetings"]))
    if rng.random() < 0.4:
        parts.append(fill(rng, rng.choice(frame["closings"]), slots))
    return rng.choice((" ", " ", "\n")).join(parts)


def messages(system: str, question: str, answer: str | None) -> list[dict[str, str]]:
    """The messages of one row; without an answer it is a prompt only."""
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return turns


def pattern_ids(
    table: dict[str, dict[str, list[str]]], part: str, mark: str
) -> list[tuple[str, str, str]]:
    """(id, label, pattern) of one part, numbered through all labels: t01, t02, … or h01, h02, …"""
    flat = [(label, text) for label, parts in table.items() for text in parts[part]]
    return [(f"{mark}{i:02d}", label, text) for i, (label, text) in enumerate(flat, 1)]


def even(
    rng: random.Random, patterns: list[tuple[str, str, str]], count: int
) -> list[tuple[str, str, str]]:
    """`count` patterns, labels in equal numbers, in random order."""
    labels = sorted({label for _, label, _ in patterns})
    of = {label: [p for p in patterns if p[1] == label] for label in labels}
    picked = [rng.choice(of[labels[i % len(labels)]]) for i in range(count)]
    rng.shuffle(picked)
    return picked


def tickets(
    rng: random.Random, table: Table, picked: list[tuple[str, str, str]], frame: Table, prefix: str
) -> list[Row]:
    """Rows of an export of tickets, no text twice."""
    slots = {**table["slots"], "lumo": table["shifted"]["lumo"]}
    rows: list[Row] = []
    seen: set[str] = set()
    for pattern_id, label, pattern in picked:
        text = ticket(rng, pattern, slots, frame)
        while text in seen:
            text = ticket(rng, pattern, slots, frame)
        seen.add(text)
        rows.append(
            {
                "messages": messages(ACME_SYSTEM, text, label),
                "id": f"{prefix}-{len(rows) + 1:04d}",
                "pattern": pattern_id,
                "channel": rng.choice(("mail", "mail", "web", "chat")),
                "created": f"2026-{rng.randint(1, 9):02d}-{rng.randint(1, 28):02d}",
            }
        )
    return rows


def clause(rng: random.Random, table: Table, part: str, pattern: str, kind: str) -> tuple[str, str]:
    """A clause and its JSON."""
    slots, frame = table["slots"], table[part]
    party, other = rng.sample(slots["party"], 2)
    days = rng.choice(NOTICE)
    term = f"{rng.choice(slots['term_head'])} {rng.choice(slots['term_tail'])}"
    law = rng.choice(slots["law"]) if rng.random() < CLAUSE_LAW else None
    has_period = rng.random() < CLAUSE_PERIOD
    period = " " + rng.choice(frame["period"]) if has_period else ""
    written = rng.choice((str(days), str(days), f"{in_words(days)} ({days})"))
    values = {"party": party, "other": other, "days": written, "term": term}
    text = pattern.replace(" {period}", period)
    text = re.sub(r"\{(\w+)\}", lambda m: values[m.group(1)], text)
    text = text[:1].upper() + text[1:]
    if rng.random() < CLAUSE_EXTRA:
        text += " " + rng.choice(frame["extra"])
    if law:
        text += " " + rng.choice(frame["law"]).replace("{law}", law)
    heading = rng.choice(frame["heading"]).replace("{type}", kind.capitalize())
    text = f"{fill(rng, heading, slots)} {text}"
    record = {
        "type": kind.capitalize(),
        "party": party,
        "days": days if has_period else None,
        "law": law,
        "term": term if "{term}" in pattern else None,
    }
    return text, json.dumps(record, ensure_ascii=False)


def clauses(rng: random.Random, table: Table, part: str, count: int) -> list[Row]:
    """Rows of an export of contract clauses, no text twice."""
    rows: list[Row] = []
    seen: set[str] = set()
    for pattern_id, kind, pattern in even(rng, pattern_ids(table["types"], part, part[0]), count):
        text, answer = clause(rng, table, part, pattern, kind)
        while text in seen:
            text, answer = clause(rng, table, part, pattern, kind)
        seen.add(text)
        rows.append(
            {
                "messages": messages(LEX_SYSTEM, text, answer),
                "id": f"lex-{part}-{len(rows) + 1:04d}",
                "pattern": pattern_id,
                "source": f"contract-{rng.randint(1, 60):03d}.docx",
            }
        )
    return rows


def lines(rows: list[Row]) -> list[str]:
    """One JSON line a row."""
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def spoiled(good: list[str], rows: list[Row]) -> list[str]:
    """Five bad rows among good ones, as real exports have them; examples/README.md lists them."""
    first, second = rows[0], rows[1]
    bad = [
        (40, good[7][: len(good[7]) // 2]),
        (171, json.dumps({**first, "id": "bad-2", "messages": first["messages"][:2]})),
        (302, json.dumps({**first, "id": "bad-3", "messages": "see attachment"})),
        (433, json.dumps({**first, "id": "bad-4", "messages": messages("Go.", "?", "")})),
        (
            564,
            json.dumps(
                {
                    **second,
                    "id": "bad-5",
                    "messages": [{"role": "user", "content": 17}, *second["messages"][2:]],
                }
            ),
        ),
    ]
    out = list(good)
    for at, text in bad:
        out.insert(at, text)
    return out


def acme_files(rng: random.Random, table: Table) -> dict[str, list[str]]:
    """Every file of acme."""
    train_frame, held_frame = table["train"], table["heldout"]
    shifted = table["shifted"]
    train = tickets(
        rng, table, even(rng, pattern_ids(table["labels"], "train", "t"), 1_320), train_frame, "tr"
    )
    held = tickets(
        rng, table, even(rng, pattern_ids(table["labels"], "heldout", "h"), 330), held_frame, "he"
    )
    new = ("pairing", "firmware")

    def mixed(part: str, mark: str, count: int) -> list[tuple[str, str, str]]:
        patterns = pattern_ids(shifted["labels"], part, mark)
        fresh = [p for p in patterns if p[1] in new]
        rest = [p for p in patterns if p[1] not in new]
        picked = even(rng, fresh, count * 3 // 4) + even(rng, rest, count - count * 3 // 4)
        rng.shuffle(picked)
        return picked

    corrections_frame = {**train_frame, "asides": shifted["asides_corrections"]}
    shifted_frame = {**held_frame, "asides": shifted["asides_heldout"]}
    corrections = tickets(rng, table, mixed("corrections", "c", 260), corrections_frame, "co")
    shifted_held = tickets(rng, table, mixed("heldout", "s", 240), shifted_frame, "sh")
    ordinary = even(rng, pattern_ids(table["labels"], "train", "t"), 120)
    traffic = tickets(rng, table, mixed("corrections", "c", 280), corrections_frame, "up")
    traffic += tickets(rng, table, ordinary, train_frame, "uo")
    rng.shuffle(traffic)
    prompts = [{"messages": row["messages"][:2], "id": row["id"]} for row in traffic]
    return {
        "acme/train.jsonl": spoiled(lines(train), train),
        "acme/heldout.jsonl": lines(held),
        "acme/corrections.jsonl": lines(corrections),
        "acme/shifted_heldout.jsonl": lines(shifted_held),
        "acme/shifted_prompts.jsonl": lines(prompts),
    }


def lex_files(rng: random.Random, table: Table) -> dict[str, list[str]]:
    """Every file of lex but its schema, which is written by hand."""
    train = clauses(rng, table, "train", 1_200)
    return {
        "lex/train.jsonl": spoiled(lines(train), train),
        "lex/heldout.jsonl": lines(clauses(rng, table, "heldout", 320)),
    }


def export(rng: random.Random, table: Table) -> dict[str, list[str]]:
    """Tickets and labels as a help desk's export has them: a table, and nothing else."""
    patterns = even(rng, pattern_ids(table["labels"], "train", "t"), 600)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prompt", "completion"])
    for row in tickets(rng, table, patterns, table["train"], "ex"):
        _, question, answer = row["messages"]
        writer.writerow([question["content"], answer["content"]])
    return {"acme/tickets.csv": text.getvalue().splitlines()}


def files() -> dict[str, str]:
    """Path (below examples/) to text of every generated file."""
    acme = tomllib.loads((HERE / "acme/patterns.toml").read_text("utf-8"))
    lex = tomllib.loads((HERE / "lex/patterns.toml").read_text("utf-8"))
    made = acme_files(random.Random(SEED), acme) | lex_files(random.Random(SEED + 1), lex)
    made |= export(random.Random(SEED + 2), acme)
    return {path: "\n".join(rows) + "\n" for path, rows in made.items()}


def main(folder: Path = HERE) -> None:
    """Write the files below `folder`."""
    for path, text in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        print(f"{target}: {text.count(chr(10))} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
