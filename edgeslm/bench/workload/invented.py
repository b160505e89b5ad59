"""The package's own bench inputs: invented receipts and messages of many lengths, with answers."""

from __future__ import annotations

from random import Random
from typing import Any, Final

#: what is read out of receipts by models that have no task of their own
RECEIPT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "company": {"type": ["string", "null"], "minLength": 1, "maxLength": 120},
        "address": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
        "date": {"type": ["string", "null"], "format": "date"},
        "total": {"type": ["string", "null"], "pattern": "^-?[0-9]+\\.[0-9]{2}$"},
    },
    "required": ["company", "address", "date", "total"],
    "additionalProperties": False,
}
RECEIPT_FIELDS: Final = frozenset(RECEIPT_SCHEMA["properties"])

_OWNERS = ("Alder", "Brook", "Cedar", "Dune", "Ember", "Fern", "Grove", "Harbour", "Ivy", "Juniper")
_TRADES = ("Stationery", "Hardware", "Bakery", "Grocers", "Pharmacy", "Garden Centre", "Books")
_STREETS = ("Mill Lane", "Station Road", "Quay Street", "Orchard Way", "Chapel Row", "Park Avenue")
_TOWNS = ("Ambleford", "Brackwater", "Carrowby", "Denholm Vale", "Elmstead Cross")
_GOODS = (
    "A4 PAPER 80G 500S",
    "BREAD WHOLEMEAL 400G",
    "BATTERY AA X4",
    "CABLE TIE 200MM",
    "COFFEE BEANS 1KG",
    "ENVELOPE C5 WHITE",
    "LIGHT BULB E27 9W",
    "MILK FRESH 1L",
    "NAIL 50MM BOX",
    "NOTEBOOK A5 LINED",
    "PAINT BRUSH 2IN",
    "SOAP LAVENDER",
    "TEA GREEN 25 BAGS",
    "TOMATO SEEDS",
)
#: how many goods a receipt has: most have few, and some are long
_LENGTHS = (1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 14, 20, 28)

#: what is said about each label, in a customer's words
_MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "I was charged twice for the same month.",
        "The invoice shows an amount I do not recognise.",
    ),
    "refund": (
        "I sent the jacket back and want my money returned.",
        "Please give me my money back, the lamp arrived broken.",
    ),
    "shipping": (
        "My parcel has not moved for six days.",
        "When will the order be delivered to my address?",
    ),
    "account": (
        "I cannot sign in since I changed my password.",
        "How do I change the e-mail address of my profile?",
    ),
    "technical": (
        "The app closes as soon as I open a photo.",
        "After the update the printer is no longer found.",
    ),
    "cancellation": (
        "Please end my subscription at the end of the month.",
        "I do not need the service any more, cancel it.",
    ),
    "complaint": (
        "The person on the phone was rude and hung up on me.",
        "This is the worst service I have met, I am very unhappy.",
    ),
    "other": (
        "Do you take on apprentices in the summer?",
        "May I use a picture of your shop in a school project?",
    ),
}
#: what a message is put into by models that have no task of their own
MESSAGE_LABELS: Final = tuple(_MESSAGES)
_ASIDES = (
    "I have been a customer since you opened.",
    "I am writing on behalf of my mother, who has no computer.",
    "I could not find the answer on your pages.",
    "I tried the chat yesterday, but nobody was there.",
    "My number is in the papers that I sent before.",
    "It is not urgent, but I would like to have it settled this week.",
)


def receipt(number: int) -> tuple[str, dict[str, Any]]:
    """The receipt of this number, always the same one, and the value to read."""
    random = Random(number)
    company = f"{random.choice(_OWNERS)} & {random.choice(_OWNERS)} {random.choice(_TRADES)} Ltd"
    street = f"{random.randint(1, 180)} {random.choice(_STREETS)}"
    address = f"{street}, {random.randint(10_000, 99_999)} {random.choice(_TOWNS)}"
    year, month, day = random.randint(2015, 2024), random.randint(1, 12), random.randint(13, 28)
    lines = [company, address, f"TEL {random.randint(1_000_000, 9_999_999)}", "RECEIPT"]
    lines.append(f"DATE {day:02}/{month:02}/{year} {random.randint(8, 20):02}:15")
    cents = 0
    for _ in range(random.choice(_LENGTHS)):
        quantity, price = random.randint(1, 4), random.randint(50, 4999)
        cents += quantity * price
        lines.append(f"{random.choice(_GOODS)} {quantity} X {_amount(price)}")
    paid = -(-cents // 1000) * 1000
    lines += [f"TOTAL {_amount(cents)}", f"CASH {_amount(paid)}", f"CHANGE {_amount(paid - cents)}"]
    lines.append("THANK YOU")
    value = {
        "company": company,
        "address": address,
        "date": f"{year}-{month:02}-{day:02}",
        "total": _amount(cents),
    }
    return "\n".join(lines), value


def message(number: int) -> tuple[str, str]:
    """The message of this number, always the same one, and its label."""
    random = Random(number)
    label = random.choice(MESSAGE_LABELS)
    asides = random.sample(_ASIDES, random.choice((0, 0, 1, 2, 4)))
    at = random.randint(0, len(asides))
    order = f"It is about number {random.randint(1000, 9999)}."
    sentences = [*asides[:at], random.choice(_MESSAGES[label]), order, *asides[at:]]
    return " ".join(sentences), label


def _amount(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
