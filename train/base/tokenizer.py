"""The tokenizer and the chat template.

Byte-level BPE whose merges are the same with and without a leading space. Ordinary byte-level BPE
learns ` Supplier` and `Supplier` as unrelated token sequences, so that copying a word from running
text into `"…"` means translating between two spellings. Here merges are learned on words without
the space, and at the end the space is joined to the first piece: both spellings have the same
pieces, and only the first one differs.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.base.corpus import chats
from train.base.lexicon import load_lexicon

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGIN, SYSTEM, USER, ASSISTANT, END, PAD = SPECIAL = (
    "<|begin|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|pad|>",
)
SPACE = "Ġ"  # how byte-level BPE writes a space

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{%- elif message['role'] == 'system' -%}"
    "<|system|>{{ message['content'] }}<|end|>"
    "{%- else -%}"
    "<|user|>{{ message['content'] }}<|end|>"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)

# One pre-token is a word with an optional space before it, one digit, a run of marks with an
# optional space, or white space. Digits stand alone, so that any number can be copied by digits.
SPLIT = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(seed: int, size: int = 4096, sample: int = 20_000) -> PreTrainedTokenizerFast:
    """Learn merges on a sample of the corpus and build a tokenizer of at most `size` tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words: Counter[str] = Counter()  # byte-level words without the leading space
    spaced: Counter[str] = Counter()  # and how often each has one
    texts = [text for chat in islice(chats(seed), sample) for _, text in chat.turns]
    lexicon = load_lexicon()
    names = [name for kind in lexicon.names.values() for name in kind]
    known = {w for name in (*lexicon.words, *names) for w in name.lower().split()}
    texts += [f" {w} {w} {w.capitalize()}" for w in lexicon.words] * 40
    texts += [f" {n}" for n in names] * 60
    for text in texts:
        for piece, _ in split.pre_tokenize_str(text):
            bare = piece.removeprefix(SPACE)
            if bare:
                words[bare] += 1
                spaced[bare] += piece.startswith(SPACE)

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges_wanted = (size - len(SPECIAL) - len(alphabet)) * 13 // 20
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges_wanted,
        initial_alphabet=alphabet,
        special_tokens=[],
        show_progress=False,
    )
    # Gibberish is thinned out: it must give short syllables and leave the room to words.
    invented = [
        word for word, count in sorted(words.items()) if count < 8 and word.lower() not in known
    ]
    for word in invented[3000:]:
        del words[word]
    lines = [" ".join([word] * min(count, 3000)) for word, count in sorted(words.items())]
    inner.train_from_iterator(lines, trainer)
    pieces, merges = read_bpe(inner)

    # First pieces of words that follow a space, most frequent first, get a spelling with the space.
    first: Counter[str] = Counter()
    for word, count in sorted(spaced.items()):
        if count:
            first[inner.encode(word).tokens[0]] += count
    room = size - len(SPECIAL) - len(pieces)
    heads = [piece for piece, _ in sorted(first.items(), key=lambda e: (-e[1], e[0]))[:room]]
    order = [*SPECIAL, *pieces, *(SPACE + head for head in heads)]
    vocabulary = {token: index for index, token in enumerate(order)}

    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[*merges, *((SPACE, head) for head in heads)])
    )
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    build: Any = PreTrainedTokenizerFast
    finished: PreTrainedTokenizerFast = build(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=2048,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )
    return finished


def read_bpe(tokenizer: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces by id and merges by rank of a trained BPE tokenizer."""
    model = json.loads(tokenizer.to_str())["model"]
    pieces = [piece for piece, _ in sorted(model["vocab"].items(), key=lambda entry: entry[1])]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    return pieces, merges


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)


def variant_groups(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """For each token id, the id of its plainest form: ` Box`, `Box` and ` box` all point to `box`.

    Used to start variants near each other; a token that has no plainer form points to itself.
    """
    vocabulary = tokenizer.get_vocab()
    roots = list(range(len(vocabulary)))
    for token, index in vocabulary.items():
        if token in SPECIAL:
            continue
        bare = token.removeprefix(SPACE)
        roots[index] = vocabulary.get(bare.lower(), vocabulary.get(bare, index))
    return roots
