"""The base model and its tokenizer, from a folder or a Hugging Face id.

Float32 on CPU. On a GPU bfloat16 if that is how the base is kept, float32 otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
)
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from train.errors import BaseUnavailable


class Base:
    """A base's name, folder, tokenizer and shape; `load()` gives its weights.

    `training_template` is the chat template with marks around what the assistant says. Raises
    BaseUnavailable when there is no such base or it can't be trained on chats.
    """

    def __init__(self, source: str, device: str = "auto") -> None:
        self.source = source
        self.device = _device(device)
        if self.device == "cuda":  # several processes, a GPU each: the launcher says which
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            self.config: Any = AutoConfig.from_pretrained(source)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise BaseUnavailable(
                f"The base model {source!r} can't be loaded: {_first_line(error)}. Expected a "
                "folder with config.json and tokenizer.json, or a Hugging Face id",
                "base",
            ) from error
        if not self.tokenizer.chat_template:
            raise BaseUnavailable(f"The base model {source!r} has no chat template", "base")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.training_template = self._training_template()

    @property
    def context(self) -> int:
        """The most tokens that the model takes."""
        return int(getattr(self.config.get_text_config(), "max_position_embeddings", 2048))

    @property
    def hidden_size(self) -> int:
        """The model's width."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def folder(self) -> Path:
        """Where config.json and tokenizer.json lie on this machine."""
        if Path(self.source).is_dir():
            return Path(self.source)
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(self.source, allow_patterns=["*.json", "*.jinja", "*.model"]))

    def load(
        self, quantize: str = "none", *, exact: bool = False, attention: str | None = None
    ) -> Any:
        """The weights, ready for an adapter. "nf4" holds linear layers in 4 bits (QLoRA); `exact`
        keeps float32 on a GPU too, for training the weights themselves: bfloat16 would swallow
        small steps. `attention` names transformers' implementation."""
        dtype = torch.float32 if exact else self._dtype()
        options: dict[str, Any] = {}
        if attention is not None:
            options["attn_implementation"] = attention
        if quantize == "nf4":
            options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=self._dtype(),
            )
            options["device_map"] = {"": self.device}
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                self.source, dtype=dtype, use_safetensors=True, **options
            )
        except (OSError, ValueError) as error:
            raise BaseUnavailable(
                f"The base model {self.source!r} can't be loaded: {_first_line(error)}", "base"
            ) from error
        model.config.use_cache = False
        if quantize == "nf4" and self.device == "cpu":
            _keep_gradients(model)
        return model if quantize == "nf4" else model.to(self.device)

    def stop_tokens(self) -> set[int]:
        """Ids that end an answer."""
        ids = {self.tokenizer.eos_token_id}
        configured = getattr(self.config, "eos_token_id", None)
        ids |= set(configured) if isinstance(configured, list) else {configured}
        return {int(token) for token in ids if token is not None}

    def _dtype(self) -> torch.dtype:
        kept = getattr(self.config, "dtype", None)
        half = kept in (torch.bfloat16, torch.float16)
        return torch.bfloat16 if self.device == "cuda" and half else torch.float32

    def _training_template(self) -> str:
        template = self.tokenizer.chat_template
        if has_generation_markers(template):
            return str(template)
        try:
            patched = get_training_chat_template(self.tokenizer)
        except (TypeError, ValueError) as error:
            raise BaseUnavailable(
                f"The chat template of {self.source!r} does not mark what the assistant says: put "
                "{% generation %} … {% endgeneration %} around it",
                "base",
            ) from error
        return str(patched or template)


def _keep_gradients(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights for inference.

    On a CPU with AVX512-BF16 layers do so at their first forward in evaluation mode, for good, and
    the packed product has no gradient: training after an evaluation would go on without one.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _device(wish: str) -> str:
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cuda" and not torch.cuda.is_available():
        raise BaseUnavailable(
            "The worker is set to train on a GPU, and there is none here", "device"
        )
    return wish


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
