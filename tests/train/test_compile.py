"""Any LoRA → a plain one: what can be said exactly is, and what can't is measured."""

import json

import pytest

from tests.real_engine import make_base
from train.errors import InvalidSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


def load(tiny):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)  # two tests run at once
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def adapted(tiny, folder, **options):
    """A folder with an adapter whose B is random; the model that it was saved from."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    options = {"target_modules": "all-linear", "r": 4, "lora_alpha": 8, **options}
    model = get_peft_model(load(tiny), LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.05)
            if "magnitude" in name:
                weights.mul_(1 + 0.1 * torch.randn_like(weights))
    model.eval().save_pretrained(folder, save_embedding_layers=False)
    return model


def compiled(tiny, source, target, rank=None):
    """(figures, the model with the compiled folder on it)."""
    from peft import PeftModel

    from train.compile import compile_folder

    figures = compile_folder(source, load(tiny), target, rank)
    return figures, PeftModel.from_pretrained(load(tiny), target).eval()


def apart(one, other):
    """The largest difference between the weights that two adapters make of the base."""
    first, second = (dict(m.merge_and_unload().named_parameters()) for m in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


EXACT = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "patterns": {
        "rank_pattern": {"q_proj": 6, "layers.0.mlp.up_proj": 2},
        "alpha_pattern": {"v_proj": 20, "layers.1.mlp.down_proj": 1},
    },
    "some layers": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1, 3]},
}


@pytest.mark.parametrize("options", EXACT.values(), ids=EXACT)
def test_what_two_factors_say_is_taken_over_exactly(tiny, tmp_path, options):
    model = adapted(tiny, tmp_path / "source", **options)
    figures, again = compiled(tiny, tmp_path / "source", tmp_path / "plain")
    assert figures["error"] == 0.0
    assert apart(model, again) < 1e-6
    config = json.loads((tmp_path / "plain" / "adapter_config.json").read_text())
    assert (
        config["lora_alpha"] == config["r"] == max(4, *options.get("rank_pattern", {0: 0}).values())
    )
    assert not (config["use_rslora"] or config["rank_pattern"] or config["alpha_pattern"])


def test_dora_of_full_rank_is_exact_and_of_a_small_one_as_near_as_it_says(tiny, tmp_path):
    model = adapted(tiny, tmp_path / "source", use_dora=True)
    whole, again = compiled(tiny, tmp_path / "source", tmp_path / "whole", 256)
    assert whole["error"] < 1e-5
    assert apart(adapted(tiny, tmp_path / "source", use_dora=True), again) < 1e-5
    errors = [
        compiled(tiny, tmp_path / "source", tmp_path / f"rank-{rank}", rank)[0]["error"]
        for rank in (4, 16, 64)
    ]
    assert 0.9 > errors[0] > errors[1] > errors[2] > 0.0
    config = json.loads((tmp_path / "rank-4" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["bias"], config["modules_to_save"]) == (False, "none", None)
    _, near = compiled(tiny, tmp_path / "source", tmp_path / "rank-64", 64)
    _, far = compiled(tiny, tmp_path / "source", tmp_path / "rank-4", 4)
    assert apart(model, near) < 1.0
    assert far.peft_config["default"].r == 4


def test_the_error_is_the_share_of_the_change_that_the_rank_leaves_out(tiny):
    import torch

    from train.compile import assemble, truncate

    values = torch.tensor([4.0, 2.0, 2.0, 1.0])
    left, _ = torch.linalg.qr(torch.randn(128, 4))
    right, _ = torch.linalg.qr(torch.randn(128, 4))
    matrix = (left * values) @ right.T
    b, a = truncate(matrix, 1)
    assert torch.allclose(b @ a, 4 * torch.outer(left[:, 0], right[:, 0]), atol=1e-4)
    assert float(b.norm()) == pytest.approx(float(a.norm()), rel=1e-4)
    name = "model.layers.2.self_attn.q_proj"
    _, figures = assemble(load(tiny), {name: matrix}, 1)
    assert figures["error"] == figures["modules"][name] == pytest.approx((9 / 25) ** 0.5, abs=1e-4)


@pytest.mark.parametrize("options", [{"bias": "lora_only"}, {"modules_to_save": ["norm"]}])
def test_what_no_lora_can_carry_is_refused(tiny, tmp_path, options):
    from train.compile import compile_folder

    adapted(tiny, tmp_path / "source", **options)
    with pytest.raises(InvalidSpec, match=r"expected (bias )?none"):
        compile_folder(tmp_path / "source", load(tiny), tmp_path / "plain")
