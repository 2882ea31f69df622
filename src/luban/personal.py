"""Personal data in text that can be told by its form: found, and replaced by stand-ins; it knows no names of people.

Check digits keep false alarms out: Chinese identity numbers (GB 11643, ISO 7064 MOD 11-2) with a real date, bank cards
(Luhn, ISO 7812, with an issuer's prefix and length), IBANs (ISO 13616, MOD 97). Addresses of the internet and e-mail,
and telephone numbers of China and in international or North American form go by their form alone. Names and postal
addresses need a model and a person's judgement: nothing here looks for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from ipaddress import ip_address

from luban.records import Entity

STAND_INS = {
    "email": "user@example.com",
    "phone": "13800138000",
    "id_number": "11010519491231002X",
    "bank_card": "4111 1111 1111 1111",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "ip_address": "192.0.2.1",
}
INTERNATIONAL, LOCAL = "+1 202 555 0100", "202-555-0100"
"what replaces each kind: reserved for documentation (RFC 2606, RFC 5737, 555 01xx) or the standard's own example"
KNOWN = frozenset({*STAND_INS.values(), INTERNATIONAL, LOCAL, "2001:db8::1"})

EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])",
    re.A,
)
IDENTITY = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{16}[\dXx](?![0-9A-Za-z])", re.A)
CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])", re.A)
IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![0-9A-Za-z])", re.A)
MOBILE = re.compile(r"(?<![\d+.-])(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)", re.A)
LANDLINE = re.compile(r"(?<![\d.+-])0(?:10|2\d|[3-9]\d{2})[- ]\d{7,8}(?![\d-])", re.A)
ABROAD = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?!\d)", re.A)
AMERICAN = re.compile(r"(?<![\w.+-])(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?![\w-])", re.A)
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)", re.A)
IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", re.A)
VERSION = re.compile(r"(?:version|release|ver|v|版本)\W?\s*$", re.I)
ISSUERS = (
    (re.compile(r"4"), {13, 16, 19}),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile(r"3[47]"), {15}),
    (re.compile(r"62"), {16, 17, 18, 19}),
    (re.compile(r"6011|64[4-9]|65"), {16, 19}),
    (re.compile(r"35(?:2[89]|[3-8])"), {16}),
    (re.compile(r"30[0-5]|36|38"), {14}),
)


def find(text: str) -> list[Entity]:
    """Personal data of ``text`` in reading order, without overlaps; ``label`` is the kind (a key of `STAND_INS`)."""
    found: list[Entity] = []
    taken: list[tuple[int, int]] = []
    if not any(char.isdigit() or char in "@:" for char in text):
        return []
    for kind, pattern, holds in PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if all(end <= a or start >= b for a, b in taken) and holds(text, match):
                taken.append((start, end))
                if match[0] not in KNOWN:
                    found.append(Entity(match[0], kind, start, end))
    return sorted(found, key=lambda entity: entity.start)


MOST_PASSES = 8


def mask(text: str) -> str:
    """The text with each finding replaced by a fixed stand-in of its kind; nothing is found in the result."""
    # A stand-in can part what stood too close to be found, such as a card number before an address that begins with a digit.
    for _ in range(MOST_PASSES):
        before = text
        for entity in reversed(find(text)):
            text = text[: entity.start] + stand_in(entity) + text[entity.end :]
        if text == before:
            break
    return text


def stand_in(entity: Entity) -> str:
    """What replaces a finding: of the same kind and form, and nobody's."""
    if entity.label == "ip_address" and ":" in entity.text:
        return "2001:db8::1"
    if entity.label == "phone" and not MOBILE.fullmatch(entity.text):
        return INTERNATIONAL if entity.text.startswith("+") else LOCAL
    return STAND_INS[entity.label]


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(value - 9 if value > 9 else value for value in doubled) + sum(map(int, digits[::-2]))) % 10 == 0


def identity_number(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number: a real date of birth, and its check digit holds."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * 2 ** (17 - i) for i, digit in enumerate(number[:17]))
    return born.year >= 1850 and "10X98765432"[total % 11] == number[17].upper()


def iban(number: str) -> bool:
    """Whether an IBAN's check digits hold (MOD 97)."""
    plain = number.replace(" ", "")
    turned = "".join(str(int(char, 36)) for char in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(turned) % 97 == 1


def _card(_: str, match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    issued = any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in ISSUERS)
    return issued and len(set(digits)) > 1 and luhn(digits)


def _address(text: str, match: re.Match[str]) -> bool:
    try:
        ip_address(match[0])
    except ValueError:
        return False
    return sum(char.isalnum() for char in match[0]) > 2 and not VERSION.search(
        text[max(0, match.start() - 12) : match.start()]
    )


def _abroad(_: str, match: re.Match[str]) -> bool:
    return 8 <= sum(char.isdigit() for char in match[0]) <= 15


def _always(text: str, match: re.Match[str]) -> bool:
    return True


PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str, re.Match[str]], bool]], ...] = (
    ("email", EMAIL, _always),
    ("id_number", IDENTITY, lambda _, match: identity_number(match[0])),
    ("iban", IBAN, lambda _, match: iban(match[0])),
    ("bank_card", CARD, _card),
    ("phone", MOBILE, _always),
    ("phone", ABROAD, _abroad),
    ("phone", LANDLINE, _always),
    ("phone", AMERICAN, _always),
    ("ip_address", IPV4, _address),
    ("ip_address", IPV6, _address),
)
"in order of trust: what an earlier pattern took, a later one leaves"
