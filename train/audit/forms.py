"""The form of answers: JSON or not, JSON that parses, JSON that keeps to the schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from train.audit.corpus import BROKEN, Corpus
from train.audit.finding import Finding, Place, of_rows


def mixed_kinds(corpus: Corpus) -> list[Finding]:
    """JSON and other answers in one set: the rows of the fewer."""
    as_json = [s.place for s in corpus.train if s.looks_like_json]
    others = [s.place for s in corpus.train if not s.looks_like_json]
    if not as_json or not others:
        return []
    fewer = min(as_json, others, key=len)
    return of_rows("mixed-answer-kinds", fewer, {"json": len(as_json), "other": len(others)})


def invalid_json(corpus: Corpus) -> list[Finding]:
    """Answers that begin as JSON and are none. Where JSON is not what is meant, a warning."""
    places = [s.place for s in corpus.samples if s.looks_like_json and s.value is BROKEN]
    meant = corpus.kind == "json" or corpus.schema is not None
    return of_rows("invalid-json-answer", places, {}, "" if meant else "warning")


def schema_violations(corpus: Corpus) -> list[Finding]:
    """Answers that parse and violate the schema; which of its keywords, and never with what."""
    if corpus.schema is None:
        return []
    from jsonschema.validators import validator_for

    validator = validator_for(corpus.schema)(corpus.schema)
    places: list[Place] = []
    keywords: Counter[str] = Counter()
    for sample in corpus.samples:
        if sample.value is BROKEN:
            continue
        found = {_rule(error) for error in validator.iter_errors(sample.value)}
        keywords.update(found)
        if found:
            places.append(sample.place)
    return of_rows("schema-violation", places, {"rules": dict(keywords.most_common(20))})


def check_schema(schema: Mapping[str, Any]) -> str:
    """What is wrong with a schema; empty when nothing is."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(dict(schema))
    except SchemaError as error:
        return error.message
    return ""


def _rule(error: Any) -> str:
    """The place in the schema, which the tenant wrote; not the place in the answer."""
    return "/".join(map(str, error.absolute_schema_path))
