"""Every kind of finding by its code: how severe it is, what it says, what to do about it.

The codes are stable: scripts may hold on to them. docs/training.md has the same list, and a test
compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Kind:
    """What a code means. `severity` is the highest that a finding of this kind can have."""

    severity: str
    title: str
    advice: str


CODES: dict[str, Kind] = {
    # rows that are not rows
    "broken-json": Kind(
        "error", "lines that are not one JSON object in UTF-8", "Write each example as one line."
    ),
    "no-messages": Kind(
        "error", "rows without a list of messages", "Give each row `messages` with a user's turn."
    ),
    "wrong-role": Kind(
        "error",
        "messages with an unknown role, or a system message that is not the first",
        "Use system (first, if at all), user and assistant.",
    ),
    "content-not-text": Kind(
        "error", "messages whose content is no text", "Make each `content` one Unicode string."
    ),
    "empty-message": Kind("error", "prompts with an empty message", "Fill it or drop the row."),
    "empty-answer": Kind("error", "answers that are empty", "Write the answer or drop the row."),
    "no-answer": Kind(
        "error",
        "rows whose last message is not the assistant's",
        "End each row with the answer that is to be learned.",
    ),
    "roles-out-of-turn": Kind(
        "warning",
        "conversations in which user and assistant do not take turns",
        "Join messages of one speaker; begin with the user.",
    ),
    # the same thing twice
    "exact-duplicate": Kind(
        "warning", "rows that repeat an earlier row", "Keep one of each; repeats count double."
    ),
    "near-duplicate": Kind(
        "warning",
        "rows that nearly repeat an earlier row",
        "Keep the best of each cluster, or vary them for real.",
    ),
    "contradiction": Kind(
        "error",
        "rows that answer the same input differently",
        "Decide which answer is right and drop the others.",
    ),
    "no-preference": Kind(
        "error",
        "pairs whose two answers are the same",
        "Drop them: nothing is preferred there.",
    ),
    # training against validation
    "leak-exact": Kind(
        "error",
        "training rows whose question is in the validation file",
        "Take them out of training, or the score measures memory.",
    ),
    "leak-near": Kind(
        "warning",
        "training rows nearly the same as a validation row",
        "Training leaves them out; split by what the rows have in common.",
    ),
    "leak-group": Kind(
        "error",
        "training rows of a conversation, customer or group that the validation file has too",
        "Keep all rows of one group on one side.",
    ),
    # labels
    "rare-class": Kind(
        "warning", "classes with fewer than 5 examples", "Add examples of them, or merge classes."
    ),
    "dominant-class": Kind(
        "warning",
        "one class holds more than 80 % of the rows",
        "Add examples of the others, or drop some of this one.",
    ),
    "label-variants": Kind(
        "warning",
        "labels that differ only in case, spacing or punctuation",
        "Write each label in one way.",
    ),
    "low-agreement": Kind(
        "warning",
        "annotators agree little better than by chance (Cohen's kappa under 0.6)",
        "Sharpen the guideline and label the disputed rows again.",
    ),
    # lengths
    "truncated": Kind(
        "warning",
        "rows longer than max_length: their ends are cut",
        "Raise max_length or shorten the prompts.",
    ),
    "answer-truncated": Kind(
        "error",
        "rows whose whole answer lies beyond max_length: nothing is learned from them",
        "Raise max_length or shorten the prompts.",
    ),
    "prompt-length-outlier": Kind(
        "warning", "prompts far longer or shorter than the others", "See whether they belong here."
    ),
    "answer-length-outlier": Kind(
        "warning", "answers far longer or shorter than the others", "See whether they belong here."
    ),
    # answers
    "placeholder-answer": Kind(
        "warning", "answers like N/A, TODO or a dash", "Write the answer or drop the row."
    ),
    "unfinished-answer": Kind(
        "warning",
        "answers that stop in the middle",
        "Complete them: the model learns to stop there.",
    ),
    "answer-copied": Kind(
        "warning",
        "long answers that stand in their prompt word for word",
        "See whether copying is the task; else rewrite them.",
    ),
    "boilerplate-answer": Kind(
        "warning",
        "refusals and phrases of another assistant",
        "Drop them, unless the model is to say this.",
    ),
    "html-left-over": Kind(
        "warning", "answers with HTML tags or entities", "Strip the markup from the export."
    ),
    "mixed-answer-kinds": Kind(
        "warning",
        "some answers are JSON and some are not",
        "Use one form, or train one adapter for each.",
    ),
    "invalid-json-answer": Kind(
        "error", "answers that look like JSON and do not parse", "Mend them: a parser will read it."
    ),
    "schema-violation": Kind(
        "error", "JSON answers that violate the schema", "Mend the answers or the schema."
    ),
    # text
    "control-character": Kind(
        "warning", "control characters in a message", "Remove them from the export."
    ),
    "broken-encoding": Kind(
        "warning",
        "text that was decoded wrongly (U+FFFD, Ã©)",
        "Export anew as UTF-8, or repair it with ftfy.",
    ),
    "minority-script": Kind(
        "warning",
        "a script (Latin, Cyrillic …) that fewer than 5 % of the rows use",
        "Add rows in that language or drop these.",
    ),
    "minority-language": Kind(
        "warning",
        "a language (English, German …) that fewer than 5 % of the rows use",
        "Add rows in that language or drop these.",
    ),
    "system-script-differs": Kind(
        "info",
        "the system prompt is in another script than the answers",
        "Fine if meant; a prompt in the answers' language often works better.",
    ),
    "several-system-prompts": Kind(
        "info",
        "several different system prompts",
        "Serve with the same ones; use one if they mean the same.",
    ),
    "no-system-prompt": Kind(
        "warning",
        "some rows have a system prompt and some have none",
        "Give all rows one or none, as requests will.",
    ),
    # what must not be learned
    "secret": Kind(
        "error",
        "private keys, access keys, tokens or passwords",
        "Remove them and revoke them: a model can recite its data.",
    ),
    "credit-card": Kind(
        "error", "card numbers (Luhn check passed)", "Replace them by invented ones."
    ),
    "iban": Kind("error", "bank accounts (IBAN check passed)", "Replace them by invented ones."),
    "social-security-number": Kind(
        "error", "social security numbers (USA)", "Replace them by invented ones."
    ),
    "email-address": Kind("warning", "e-mail addresses", "Replace them by invented ones."),
    "phone-number": Kind("warning", "phone numbers", "Replace them by invented ones."),
    "ip-address": Kind("warning", "IPv4 and IPv6 addresses", "Replace them by invented ones."),
    # the verdict on size and kind of task
    "too-few-examples": Kind(
        "error",
        "fewer than 100 usable examples",
        "Collect more; until then put examples into the prompt.",
    ),
    "small-data": Kind(
        "info",
        "fewer than 500 usable examples",
        "Train with preset=small-data: rank 4, early stopping (patience) on.",
    ),
    "base-already-good": Kind(
        "warning",
        "the base gives at least 95 % of the right answers already",
        "Prompt it, with examples if that is what it took.",
    ),
    "looks-like-lookup": Kind(
        "warning",
        "the answers are facts that no prompt holds and no two rows share",
        "Use retrieval: an adapter learns a form, and few facts.",
    ),
}
