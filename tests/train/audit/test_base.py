"""Should there be a fine-tune? The base is asked, by the rows that it would be measured on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.train.audit import clean
from train.audit.audit import audit
from train.audit.base import Unanswered, client, measured, told, verdict
from train.audit.corpus import Corpus, Source


@contextmanager
def served(answer: Callable[[list[dict[str, str]]], str]) -> Iterator[str]:
    """A chat completions endpoint that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(body["messages"])
            content = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def corpus(rows: list[Any]) -> Corpus:
    return Corpus.read([Source("train", clean.jsonl(rows))])


def test_a_base_that_needs_examples_only_is_told() -> None:
    rows = clean.labels()
    right = {r["messages"][-2]["content"]: r["messages"][-1]["content"] for r in rows}

    def answer(messages: list[dict[str, str]]) -> str:
        return right[messages[-1]["content"]] if len(messages) > 2 else "no idea"

    found = corpus(rows)
    with served(answer) as url:
        figures = measured(found, client(url, "base"), {})
    assert figures["kind"] == "label"
    assert 30 <= figures["rows"] <= 100
    assert (figures["zero_shot"], figures["few_shot"]) == (0.0, 1.0)
    report = told(audit(found), figures)
    assert "base-already-good" in {finding.code for finding in report.findings}
    assert verdict(report)[0] == "no"


def test_a_base_that_knows_nothing_speaks_for_an_adapter() -> None:
    found = corpus(clean.labels(600))
    with served(lambda _: "no idea") as url:
        report = told(audit(found), measured(found, client(url, "base"), {}))
    assert report.figures["base"]["few_shot"] == 0.0
    assert verdict(report)[0] == "yes"


def test_too_few_rows_are_not_yet_enough() -> None:
    assert verdict(audit(corpus(clean.sentences(50))))[0] == "not yet"


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(Unanswered, match=r"http://127\.0\.0\.1:9/v1/chat/completions"):
        measured(corpus(clean.labels(100)), client("http://127.0.0.1:9/v1", "base"), {})
