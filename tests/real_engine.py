"""A real base model, real PEFT adapters and a real vLLM for tests that need them.

Plain functions: every room's tests may use them. The base is a Llama with random weights (3 MB),
the adapters have random B matrices, so that they change every answer.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monitoring.metrics import Metrics
from registry import Registry
from registry.fingerprint import base_fingerprint
from serve.engine import EngineSupervisor
from serve.settings import EngineSettings

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WORDS = [
    *("the", "invoice", "was", "wrong", "again", "please", "refund", "my", "card", "and"),
    *("tell", "me", "when", "parcel", "login", "fails"),
]


def make_base(folder: Path, *, seed: int = 0) -> Path:
    """A tiny Llama with its tokenizer and chat template, as a model folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([" ".join(WORDS), "user assistant system billing delivery"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).float().save_pretrained(folder)
    return folder


def make_adapter(
    base: Path,
    folder: Path,
    *,
    tenant: str = "acme",
    adapter: str = "triage",
    rank: int = 8,
    seed: int = 1,
    scale: float = 0.2,
    probes: int = 16,
    manifest: dict[str, Any] | None = None,
) -> Path:
    """An adapter folder as the trainer publishes it: PEFT files, switchyard.json, probes.json.

    `scale` is the standard deviation of B: 0 makes an adapter without effect.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    peft = get_peft_model(model, lora)
    for name, weights in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=scale) if scale else torch.nn.init.zeros_(weights)
    peft.eval()
    peft.save_pretrained(folder, save_embedding_layers=False)
    tokenizer = AutoTokenizer.from_pretrained(base)

    def logprobs(ids: list[int], start: int) -> list[float]:
        with torch.no_grad():
            scores = peft(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return [scores[i - 1, ids[i]].item() for i in range(start, len(ids))]

    rows = []
    for number in range(probes):
        text = " ".join(WORDS[(number * 5 + k * 3) % len(WORDS)] for k in range(6 + number % 5))
        messages = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        answer = [*tokenizer.encode(WORDS[number % len(WORDS)] + " delivery"), 2]
        ids = [*prompt, *answer]
        with_adapter = logprobs(ids, len(prompt))
        with peft.disable_adapter():
            without = logprobs(ids, len(prompt))
        rows.append(
            {
                "messages": messages,
                "token_ids": ids,
                "prompt_length": len(prompt),
                "logprobs": with_adapter,
                "base_logprobs": without,
            }
        )
    said = {
        "tenant": tenant,
        "adapter": adapter,
        "base": base.name,
        **base_fingerprint(base),
        "rank": rank,
        **(manifest or {}),
    }
    (folder / "switchyard.json").write_text(json.dumps(said))
    (folder / "probes.json").write_text(json.dumps({"probes": rows, "dtype": "float32"}))
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def misname_modules(folder: Path) -> None:
    """Rename an adapter's modules so that they match nothing: vLLM loads it without a word."""
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n.replace("model.layers", "decoder.layers"): t for n, t in tensors.items()}, file)


class RunningEngine:
    """A supervisor in a thread of its own (which lives as long as the engine)."""

    def __init__(self, settings: EngineSettings, registry: Registry, metrics: Metrics) -> None:
        self.settings = settings
        self.registry = registry
        self.url = settings.url
        self.supervisor = EngineSupervisor(settings, registry, metrics)
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine-supervisor")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Poll; fails with the log's end when the time is up or the supervisor ended."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.error is not None or time.monotonic() > deadline:
                log = self.settings.log_file
                tail = log.read_text(errors="replace")[-4000:] if log.exists() else "(no log)"
                raise AssertionError(f"not {what} within {timeout_s} s: {self.error}\n{tail}")
            time.sleep(0.1)

    def ready(self) -> bool:
        return bool(self.registry.engines.ready())

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        try:
            await self.supervisor.startup()
            while not self._stop.is_set():
                await self.supervisor.tick()
        except Exception as error:
            self.error = error
        finally:
            await self.supervisor.shutdown()


@contextmanager
def running_engine(
    settings: EngineSettings, registry: Registry, metrics: Metrics, *, timeout_s: float = 240
) -> Iterator[RunningEngine]:
    """Start a real vLLM under its supervisor; ready when the block begins, gone after it."""
    engine = RunningEngine(settings, registry, metrics)
    engine.start()
    try:
        engine.wait_until(engine.ready, "ready", timeout_s)
        yield engine
    finally:
        engine.stop()
