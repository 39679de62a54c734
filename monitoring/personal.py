"""Data about people in texts: addresses and numbers, with the check digits that their kind has."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from ipaddress import AddressValueError, IPv6Address

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}\b")
_CARD = re.compile(r"(?<![\w.-])(?<!\d )[2-6](?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b")
_PHONE = re.compile(
    r"(?<![\w+.-])(?<!\d )"
    r"(?:\+\d{1,3}[ ./-]?(?:\(0?\d{1,4}\)[ ./-]?)?\d{1,5}(?:[ ./-]?\d{2,5}){1,4}"
    r"|\(\d{2,5}\)[ ./-]?\d{3,4}[ ./-]\d{3,5}|\d{3}-\d{3}-\d{4}"
    r"|0\d{2,4}[ /-]\d{3,4}(?:[ -]\d{3,5}){1,2})"
    r"(?![\w-]|\.\d)"
)
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,6}"
    r"(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)")
"""Of the USA (https://www.ssa.gov/employer/randomization.html): with its hyphens only."""
_DIGIT = re.compile(r"\d")
_VERSION = re.compile(r"(?:\bv|version|release|firmware)\W{0,3}(?:is |to )?$", re.I)


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """(code, value); a part of a text counts for one kind only."""
    for code, start, end in _spans(text):
        yield code, text[start:end]


def mask(value: str) -> str:
    """The first character and the length."""
    return f"{value[0]}… ({len(value)} characters)"


def without_personal(text: str, shown: Callable[[str, str], str] | None = None) -> str:
    """The text with what is personal masked, or shown as `shown(code, value)`."""
    parts, at = [], 0
    for code, start, end in _spans(text):
        value = text[start:end]
        parts += [text[at:start], mask(value) if shown is None else shown(code, value)]
        at = end
    return "".join((*parts, text[at:])) if parts else text


def luhn(digits: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1)."""
    total = 0
    for index, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * (1 + index % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def mod_97(iban: str) -> bool:
    """The check digits of bank accounts (ISO 13616)."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _spans(text: str) -> list[tuple[str, int, int]]:
    """(code, start, end), in the order of the text, none within another."""
    found: list[tuple[str, int, int]] = []
    if "@" in text:
        found += [("email-address", *match.span()) for match in _EMAIL.finditer(text)]
    if not _DIGIT.search(text):
        return found
    found += [span for match in _IBAN.finditer(text) if (span := _iban(match))]
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if luhn(digits) and len(set(digits)) > 1:
            found.append(("credit-card", *match.span()))
    if "::" in text or text.count(":") >= 7:
        found += [
            ("ip-address", *match.span()) for match in _IPV6.finditer(text) if _ipv6(match.group())
        ]
    for match in _IP.finditer(text):
        parts = [int(part) for part in match.group().split(".")]
        if max(parts) < 256 and not _VERSION.search(
            text[max(0, match.start() - 20) : match.start()]
        ):
            found.append(("ip-address", *match.span()))
    if "-" in text:
        found += [("social-security-number", *match.span()) for match in _SSN.finditer(text)]
    for match in _PHONE.finditer(text):
        if len(re.sub(r"\D", "", match.group())) >= 8:
            found.append(("phone-number", *match.span()))
    return _apart(found)


def _apart(found: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Those that share no sign with another; the surer kind comes first."""
    taken: list[tuple[int, int, str]] = []
    for code, start, end in found:
        at = bisect_left(taken, (start,))
        free = at == 0 or taken[at - 1][1] <= start
        if free and (at == len(taken) or end <= taken[at][0]):
            taken.insert(at, (start, end, code))
    return [(code, start, end) for start, end, code in taken]


def _iban(match: re.Match[str]) -> tuple[str, int, int] | None:
    """The longest part that passes the check: a word in capitals may follow."""
    value = match.group()
    while True:
        compact = value.replace(" ", "")
        if 15 <= len(compact) <= 34 and mod_97(compact):
            return "iban", match.start(), match.start() + len(value)
        if " " not in value:
            return None
        value = value.rpartition(" ")[0]


def _ipv6(value: str) -> bool:
    """One that could be somebody's. A slice (`1::2`) or a time looks alike, so its first part has
    four digits, or it has all eight parts."""
    if len(value.partition(":")[0]) < 4 and value.count(":") < 7:
        return False
    try:
        IPv6Address(value)
    except AddressValueError:
        return False
    return True
