"""Before the first step: what would be trained is what was meant, or the job ends with the reason.
Each fault alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.real_engine import make_base
from tests.train.making import jsonl, record, row, task, tickets
from train.errors import InvalidTrainingFile, SupervisionFailed
from train.pipeline import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROWS = [row(r["messages"][0]["content"], "billing", n) for n, r in enumerate(tickets(12), 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def base(folder):
    from train.model import Base

    return Base(str(folder), "cpu")


@pytest.fixture(scope="module")
def examples(base):
    from train.dataset import tokenise

    found, _ = tokenise(
        ROWS, base.tokenizer, base.training_template, base.context, base.stop_tokens()
    )
    return found


@pytest.fixture
def adapted(base):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", lora_dropout=0.1)
    return get_peft_model(base.load(), config)


def test_good_rows_are_given_their_figures(base, examples):
    from train.supervision import of_tokens

    figures = of_tokens(examples, base.stop_tokens())
    assert figures["rows"] == 12
    assert figures["stop_trained_share"] == 1.0
    assert 0 < figures["supervised_share"] < 0.5


def test_a_stop_token_that_is_not_learned_ends_the_job(base, examples):
    from train.supervision import of_tokens

    stop = base.stop_tokens()
    spoilt = [replace(e, labels=[-100 if t in stop else t for t in e.labels]) for e in examples]
    with pytest.raises(SupervisionFailed, match="would never stop"):
        of_tokens(spoilt, stop)


def test_labels_that_hide_everything_end_the_job(base, examples):
    from train.supervision import of_tokens

    hidden = [replace(e, labels=[-100] * len(e.labels)) for e in examples]
    with pytest.raises(SupervisionFailed, match="No token"):
        of_tokens(hidden, base.stop_tokens())


def test_labels_of_other_tokens_end_the_job_and_name_the_line(base, examples):
    from train.supervision import of_tokens

    first = replace(examples[0], labels=[*examples[0].labels[1:], examples[0].labels[0]])
    with pytest.raises(SupervisionFailed, match="labels of lines 1 are other tokens"):
        of_tokens([first, *examples[1:]], base.stop_tokens())


def test_a_fresh_lora_gets_gradients_and_is_left_as_it_was(adapted, examples):
    import torch

    from train.supervision import of_gradients

    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    adapted.eval()
    figures = of_gradients(adapted, examples)
    assert torch.equal(torch.rand(1), expected)
    assert figures["adapted_modules"] == 28
    assert figures["least_gradient_norm"] > 0
    assert not adapted.training
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_a_frozen_module_ends_the_job_and_is_named(adapted, examples):
    from train.supervision import of_gradients

    for name, parameter in adapted.named_parameters():
        if "layers.1.mlp.up_proj.lora" in name:
            parameter.requires_grad_(False)
    with pytest.raises(
        SupervisionFailed, match=r"1 of 28 adapted modules.*layers\.1\.mlp\.up_proj"
    ):
        of_gradients(adapted, examples)


def test_a_module_that_the_loss_does_not_reach_ends_the_job(adapted, examples):
    import torch

    from train.supervision import of_gradients

    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "layers.0.self_attn.v_proj.lora_A" in name:
                parameter.zero_()
    with pytest.raises(SupervisionFailed, match=r"layers\.0\.self_attn\.v_proj"):
        of_gradients(adapted, examples)


def test_a_model_of_which_nothing_is_trained_ends_the_job(base, examples):
    from train.supervision import of_gradients

    model = base.load()
    model.requires_grad_(False)
    with pytest.raises(SupervisionFailed, match="all are frozen"):
        of_gradients(model, examples)


@contextmanager
def engine(tokenizer, template=None) -> Iterator[str]:
    """`/tokenize` as the engine has it, by a template of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ids = tokenizer.apply_chat_template(
                asked["messages"],
                chat_template=template,
                add_generation_prompt=asked["add_generation_prompt"],
                tokenize=True,
                return_dict=True,
            )["input_ids"]
            body = json.dumps({"tokens": list(ids), "count": len(ids)}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_tokens_are_compared_with_the_engines(base):
    from train.supervision import of_engine

    with engine(base.tokenizer) as url:
        found = of_engine(ROWS, base.tokenizer, url, "tiny")
    assert found == {"engine": "same", "engine_rows": 8}
    gone = of_engine(ROWS, base.tokenizer, url, "tiny")
    assert gone["engine"].startswith("not checked: the engine's /tokenize gave")
    assert of_engine(ROWS, base.tokenizer, None, "tiny")["engine"].startswith("not checked")


def test_an_engine_with_another_template_ends_the_job(base):
    from train.supervision import of_engine

    other = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with (
        engine(base.tokenizer, other) as url,
        pytest.raises(SupervisionFailed, match=r"line 1 is .* they differ from token 0 on"),
    ):
        of_engine(ROWS, base.tokenizer, url, "tiny")


def job(folder, **spec):
    return task(str(folder), spec={"rank": 4, "epochs": 1, **spec})


def test_a_job_audits_its_rows_and_what_it_learns_and_replays_general_rows(folder, tmp_path):
    records = [*tickets(60), record("My key is AKIA1234567890ABCDEF, is it safe?", "login")]
    (tmp_path / "training.jsonl").write_bytes(jsonl(records))
    news: list[dict] = []
    outcome = run(tmp_path, job(folder, replay=0.05), news.append)
    result = outcome["result"]
    codes = {finding["code"] for finding in result["audit"]["findings"]}
    assert {"secret", "too-few-examples"} <= codes
    told = [m for m in news if m["kind"] == "event" and (m.get("data") or {}).get("code")]
    assert any(m["data"] == {"code": "secret", "severity": "error", "count": 1, "lines": [61]}
               for m in told)  # fmt: skip
    assert "AKIA1234567890ABCDEF" not in json.dumps(news)
    assert result["supervision"]["adapted_modules"] == 28
    assert result["supervision"]["engine"].startswith("not checked")
    assert result["data"]["test_rows"] > 0
    assert outcome["evaluation"]["selected_on_test"] is False
    sides = ("train_rows", "validation_rows", "test_rows", "left_out_rows")
    assert sum(result["data"][side] for side in sides) == 61


def test_an_error_of_the_audit_ends_a_job_that_asks_for_it(folder, tmp_path):
    (tmp_path / "training.jsonl").write_bytes(jsonl(tickets(40)))
    with pytest.raises(InvalidTrainingFile, match=r"audit=stop: fewer than 100 usable examples"):
        run(tmp_path, job(folder, audit="stop"), lambda _: None)


def test_replay_is_the_bases_own_answers_and_the_same_each_time():
    from train.model import Base
    from train.replay import replayed
    from train.settings import SHIPPED_BASE

    shipped = Base(str(SHIPPED_BASE), "cpu")
    model = shipped.load()
    first = replayed(model, shipped, ROWS, 0.5, seed=3)
    assert 1 <= len(first) <= 6
    assert first == replayed(model, shipped, ROWS, 0.5, seed=3)
    assert all(r.kind == "chat" and r.metadata == {"replay": True} for r in first)
