"""Fields of request bodies: which of them reach an engine, and why the others don't. Data only.

Every field of vLLM 0.32's request models is decided on here, one by one; a test reads the models
and fails on a field that is not. What nobody decided on (a newer engine's field, a word that no
engine knows) does not reach an engine: vLLM ignores unknown fields, so today nothing is lost by it.
"""

from __future__ import annotations

STRIPPED: dict[str, str] = {
    "cache_salt": "separates tenants' prefix caches; the router sets the tenant's own",
    "priority": "would jump the engine's queue past other tenants",
    "request_id": "names the request inside the engine; ids are the router's to give",
    "session_id": "ties requests together inside the engine, across tenants",
    "kv_transfer_params": "makes the engine fetch caches from hosts that the client names",
    "ec_transfer_params": "the same, for encoder caches",
    "vllm_xargs": "arguments for engine plugins, which trust whoever sends them",
    "lora_request": "would name an adapter past the router's choice",
    "mm_payload": "what render endpoints return of an image's tensors; there are none here",
    "return_mm_kwargs": "its old name",
    "media_io_kwargs": "options of the engine's media loaders, memory included",
    "mm_processor_kwargs": "options of the engine's image processors, memory included",
    "watermarking": "whether answers are marked is the platform's to say, not the client's",
    "store": "the engine would keep answers in memory, readable by whoever knows their id; "
    "the router sets false",
}
"""Fields that steer the engine's insides, and why no client may set them. Dropped silently: SDKs of
other platforms send some of them by habit."""

REFUSED: dict[str, str] = {
    "chat_template": "a template is a program that would run in the engine",
    "prompt_embeds": "tensors of unknown content would be unpacked in the engine",
    "background": "an answer kept in one engine's memory can't be promised",
    "previous_response_id": "answers are not kept; send the conversation in `input`",
}
"""Fields without which the answer would be another one than asked for: 400 when they hold
something, dropped when they are null or false."""

_SAMPLING = """
    frequency_penalty ignore_eos include_stop_str_in_output logit_bias min_p presence_penalty
    repetition_penalty seed skip_special_tokens stop stop_token_ids structured_outputs temperature
    top_k top_p user
"""

_COMPLETION = """
    add_special_tokens allowed_token_ids bad_words echo length_penalty logprob_token_ids logprobs
    max_tokens min_tokens n prompt_logprobs repetition_detection response_format return_token_ids
    return_token_offsets return_tokens_as_token_ids routed_experts_prompt_start
    spaces_between_special_tokens stream_interval stream_options thinking_token_budget
    truncate_prompt_tokens truncation_side use_beam_search
"""
"""`echo` and `prompt_logprobs` are safe with adapters: none here touches `lm_head`, whose LoRA
kernel makes vLLM's engine core die on them (vllm issue 16668)."""

_TOOLS = "chat_template_kwargs include_reasoning parallel_tool_calls tool_choice tools top_logprobs"


def _set(*names: str) -> frozenset[str]:
    return frozenset(" ".join(names).split())


CHAT = _set(
    "model stream",
    _SAMPLING,
    _COMPLETION,
    _TOOLS,
    "add_generation_prompt continue_final_message documents max_completion_tokens messages",
    "reasoning_effort return_prompt_text",
)
TEXT = _set("model stream", _SAMPLING, _COMPLETION, "prompt suffix")
RESPONSES = _set(
    "model stream",
    _SAMPLING,
    _TOOLS,
    "enable_response_messages include input instructions max_output_tokens max_tool_calls metadata",
    "previous_input_messages prompt prompt_cache_key reasoning service_tier text truncation",
)
EMBEDDINGS = _set(
    "model",
    "add_generation_prompt add_special_tokens chat_template_kwargs continue_final_message",
    "dimensions embed_dtype encoding_format endianness input messages padding",
    "truncate_prompt_tokens truncation_side use_activation user",
)

LONG = _set("messages prompt input instructions documents tools previous_input_messages")
"""What a prompt is made of: as long as a body may be, since the engine counts its tokens. All other
fields (grammars, schemas, biases, lists of tokens or words) have a bound of their own."""
