"""One conversation of the corpus.

Messages, the skill that it practises, and generic system prompts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SYSTEMS = (
    "Answer the question.",
    "You are a helpful assistant.",
    "Be brief.",
    "Read the text and answer.",
    "Follow the instruction.",
    "Give only the answer.",
    "Use the words of the text.",
    "Reply with one line.",
    "Do what the user asks.",
    "Read with care. Answer in few words.",
    "You read text and reply in a fixed form.",
    "Look at the text and give the result.",
)


@dataclass(frozen=True)
class Chat:
    """A skill name and (role, text) pairs, in the order that the chat template writes them."""

    skill: str
    turns: tuple[tuple[str, str], ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat as `messages`, as transformers and the OpenAI API take it."""
        return [{"role": role, "content": text} for role, text in self.turns]


def chat(
    rng: random.Random, skill: str, *pairs: tuple[str, str], system: str | None = None
) -> Chat:
    """Build a chat from (question, answer) pairs.

    Every third gets a system prompt that means nothing.
    """
    turns: list[tuple[str, str]] = []
    if system is None and rng.random() < 0.35:
        system = rng.choice(SYSTEMS)
    if system:
        turns.append(("system", system))
    for question, answer in pairs:
        turns += [("user", question), ("assistant", answer)]
    return Chat(skill, tuple(turns))
