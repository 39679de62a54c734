"""Which language of one script: twelve that are written in Latin letters, by their commonest words.

Says nothing where it isn't sure: a text needs MOST_TOLD words of one language, and MARGIN times as
many as of any other. Labels, records, code and short texts have no language here.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows

WORDS = {
    "English": "the and of to is that it was for you with are this be have not from my your but "
    "what which they will would there can when please",
    "German": "der die das und ist nicht ich sie mit ein eine den von zu auf für dem es auch wie "
    "wir haben sind wird bei nach mein ihre bitte noch wurde",
    "French": "le la les et est des une que pour pas dans je vous qui sur avec ce il nous mon ma "
    "votre été sont plus mais cette être ai bonjour",
    "Spanish": "el la los las y es que de una por para con no se mi su está pero como más del al "
    "lo muy hay este fue gracias cuando ya",
    "Portuguese": "o os as e é que de uma para com não se meu minha está mas como mais do da em "
    "ao foi você por seu muito isso obrigado quando",
    "Italian": "il lo gli e è che di una per con non si mio mia sono ma come più del della nel ho "
    "le questo anche molto grazie quando stato ancora",
    "Dutch": "de het een en is niet ik van dat met voor op zijn mijn maar ook er naar heb wordt "
    "bij aan uw wij deze nog geen kan werd zijn",
    "Swedish": "och det att en som är inte jag på för med av har till den ett om vi min mitt men "
    "kan från eller så när var mycket ni detta",
    "Danish": "og det at en som er ikke jeg på for med af har til den et om vi min mit men kan fra "
    "eller så når var meget hvad blev",
    "Polish": "i w na nie się że jest z do to co mam mój moja dla ale jak po jestem był czy już "
    "tak proszę została przez tego od oraz",
    "Turkish": "ve bir bu için ile da de çok ne var değil ama daha olarak gibi benim kadar sonra "
    "olan mi her en ben bana lütfen oldu şu ki",
    "Czech": "a je se na že v to není s do ale jak jsem pro moje můj byl už tak po který které "
    "prosím mám jsou jako nebo při aby když",
}
MOST_TOLD = 4
MARGIN = 1.8
MINORITY = 0.05
_KNOWN_SHARE = 0.5
"""From this share of texts with a language on, languages say something about the rows."""

_WORD = re.compile(r"[^\W\d_]+")


@cache
def _by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, words in WORDS.items():
        for word in set(words.split()):
            found[word] = (*found.get(word, ()), name)
    return found


def language(text: str) -> str | None:
    """The language of a text; None where its common words don't settle it."""
    counts: Counter[str] = Counter()
    known = _by_word()
    for word in _WORD.findall(text.lower()):
        counts.update(known.get(word, ()))
    ranked = counts.most_common(2)
    if not ranked or ranked[0][1] < MOST_TOLD:
        return None
    second = ranked[1][1] if len(ranked) > 1 else 0
    return ranked[0][0] if ranked[0][1] >= MARGIN * second else None


def minority_language(corpus: Corpus) -> list[Finding]:
    """Rows whose prompt or answer is in a language that fewer than MINORITY of the rows use."""
    used = [
        {name for text in (s.prompt, s.answer) if (name := language(text)) is not None}
        for s in corpus.train
    ]
    counts = Counter(name for names in used for name in names)
    known = sum(map(bool, used))
    if known < _KNOWN_SHARE * len(used):
        return []
    rare = {name for name, n in counts.items() if n < MINORITY * len(used)}
    places = [s.place for s, names in zip(corpus.train, used, strict=True) if names & rare]
    return of_rows(
        "minority-language",
        places,
        {"rows": dict(counts.most_common()), "unknown": len(used) - known},
    )
