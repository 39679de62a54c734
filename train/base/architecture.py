"""The shape of switchyard-tiny.

A Llama of about 2.6 million parameters that vLLM serves unmodified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

# The spread of embeddings at the start, and how near variants of a word (` Box`, `box`) begin.
EMBEDDING_STD = 0.02
VARIANT_SHARE = 0.8


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A model with random weights for this tokenizer.

    4 layers, width 192, 6 heads of 32, tied embeddings.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from train.base.tokenizer import variant_groups

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        initializer_range=EMBEDDING_STD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    build: Any = LlamaForCausalLM  # its methods carry no types
    model = build(config)
    roots = torch.tensor(variant_groups(tokenizer))
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        own = torch.randn_like(table) * EMBEDDING_STD
        shared = own[roots]
        mixed = VARIANT_SHARE * shared + (1 - VARIANT_SHARE**2) ** 0.5 * own
        table.copy_(torch.where((roots == torch.arange(len(roots)))[:, None], own, mixed))
    model.generation_config.update(
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        max_new_tokens=128,
    )
    return cast(LlamaForCausalLM, model)
