"""Answers that should not be learned as they are: no answer at all, half of one, a copy of the
question, another assistant's phrases, markup."""

from __future__ import annotations

import re

from train.audit.corpus import BROKEN, Corpus, Sample, squeezed
from train.audit.finding import Finding, of_rows

_PLACEHOLDER = re.compile(
    r"\W*|(?:n/?a|todo|tbd|fixme|xxx+|null|none|nan|undefined|lorem ipsum.*|\[?(?:insert|your) "
    r"(?:answer|text|response).*)\W*",
    re.I,
)
_TERMINAL = re.compile(r"[.!?…:;。！？।؟٪%)\]}>\"'”’»`*_~|]\s*$|\d$")
_CUT_WORD = re.compile(r"\w(?:\.\.\.|…)\s*$")
_USUAL = 0.9
"""From this share of answers with a terminal mark on, one without it is unfinished."""
_BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:['’]m| am) (?:just )?an? (?:ai|large language|language) (?:language )?"
    r"(?:model|assistant)\b"
    r"|\bi(?:['’]m| am) (?:very )?sorry,? but (?:i|as)\b.{0,20}"
    r"(?:can(?:no|['’])?t|unable|not able|ai)\b"
    r"|^\W*(?:sorry, )?i (?:can(?:no|['’])t|am unable to|['’]m unable to) "
    r"(?:help|assist|fulfil|comply|provide|answer)"
    r"|\bmy (?:knowledge|training) (?:cut-?off|data only)\b|\bi hope this (?:email )?finds you\b"
    r"|^\W*(?:certainly|sure)[,!] here(?:['’]s| is| are)\b",
    re.I | re.M,
)
_HTML = re.compile(
    r"</?(?:p|br|div|span|a|li|ul|ol|b|i|em|strong|td|tr|th|table|tbody|h[1-6]|img|font|script|style)"
    r"(?:\s[^<>]*)?/?>|&(?:nbsp|amp|lt|gt|quot|apos|#x?[0-9a-f]{2,6});",
    re.I,
)
_THE_TASK = 0.5
"""What half of the answers do is the task, and no fault: told as info."""
_LONG_COPY = 8  # words


def placeholders(corpus: Corpus) -> list[Finding]:
    """N/A, TODO, a dash. A label that comes back often may be called so, and so may a null."""
    if corpus.kind == "label":
        return of_rows(
            "placeholder-answer",
            [
                s.place
                for s in corpus.samples
                if re.fullmatch(r"\W+|todo|tbd|fixme", s.answer, re.I)
            ],
        )
    found = [s.place for s in corpus.samples if _PLACEHOLDER.fullmatch(s.answer)]
    return of_rows("placeholder-answer", found)


def unfinished(corpus: Corpus) -> list[Finding]:
    """No terminal mark where nearly all have one, brackets that never close, an ellipsis in a word,
    a code fence left open."""
    if corpus.kind == "label":
        return []
    marked = [_TERMINAL.search(s.answer) is not None for s in corpus.samples]
    usual = corpus.kind == "text" and sum(marked) >= _USUAL * len(marked)
    places = [
        sample.place
        for sample, ends in zip(corpus.samples, marked, strict=True)
        if _stops(sample) or (usual and not ends and not _PLACEHOLDER.fullmatch(sample.answer))
    ]
    share = round(sum(marked) / len(marked), 3) if marked else 0.0
    return of_rows("unfinished-answer", places, {"share_with_end_mark": share})


def copied(corpus: Corpus) -> list[Finding]:
    """Long answers that their prompt holds word for word."""
    places = [
        s.place
        for s in corpus.samples
        if len(s.answer.split()) >= _LONG_COPY and squeezed(s.answer) in squeezed(s.prompt)
    ]
    return _unless_the_task("answer-copied", corpus, places)


def boilerplate(corpus: Corpus) -> list[Finding]:
    """Refusals and phrases of other assistants."""
    places = [s.place for s in corpus.samples if _BOILERPLATE.search(s.answer)]
    return of_rows("boilerplate-answer", places)


def no_preference(corpus: Corpus) -> list[Finding]:
    """Pairs of one answer and the same answer."""
    return of_rows(
        "no-preference",
        [
            s.place
            for s in corpus.samples
            if s.row.kind == "preference" and squeezed(s.answer) == squeezed(s.row.rejected)
        ],
    )


def html_left_over(corpus: Corpus) -> list[Finding]:
    """Tags and entities."""
    places = [s.place for s in corpus.samples if _HTML.search(s.answer)]
    return _unless_the_task("html-left-over", corpus, places)


def _unless_the_task(code: str, corpus: Corpus, places: list[tuple[str, int]]) -> list[Finding]:
    share = len(places) / max(1, len(corpus.samples))
    severity = "info" if share >= _THE_TASK else ""
    return of_rows(code, places, {"share": round(share, 3)}, severity)


def _stops(sample: Sample) -> bool:
    answer = sample.answer
    if _CUT_WORD.search(answer) or answer.count("```") % 2:
        return True
    return sample.looks_like_json and sample.value is BROKEN and _open_brackets(answer) > 0


def _open_brackets(text: str) -> int:
    """Brackets that are open at the end, those within strings not counted."""
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            escaped, quoted = character == "\\" and not escaped, character != '"' or escaped
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
    return depth
