"""Made-up business invoices: five layouts, six spellings of dates, several dates and totals."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any

from pydantic import BaseModel, Field

from benchmarks.data.schemas import Address, Name, Number

_FIRMS = (
    ("Alder & Finch Stationers Ltd", "8 Quay Street", "Bristol BS1 4TR"),
    ("Breitner Werkzeuge GmbH", "Hafenweg 31", "48155 Münster"),
    ("Cobalt Lab Supplies Ltd", "Unit 4, Kiln Road", "Leeds LS9 8DN"),
    ("Dufour Papeterie SARL", "12 rue des Tanneurs", "59000 Lille"),
    ("Evergreen Garden Wholesale Inc.", "700 Orchard Avenue", "Salem, OR 97301"),
    ("Fjord Marine Parts AS", "Strandgaten 19", "5013 Bergen"),
    ("Granite Kitchen Equipment", "41 Foundry Lane", "Sheffield S3 8GG"),
    ("Hollis Office Furniture LLC", "1200 Canal Street, Suite 5", "New Orleans, LA 70112"),
    ("Imhof Messtechnik AG", "Seestrasse 104", "8002 Zürich"),
    ("Juniper Print Works", "3 Mill Yard", "Norwich NR3 1AU"),
)
_THINGS = (
    "Copy paper A4 80 g", "Hex bolt M8 x 40", "Nitrile gloves, box", "Desk lamp LED",
    "Ring binder 75 mm", "Bilge pump 12 V", "Laser toner black", "Safety goggles",
    "Garden hose 25 m", "Steel shelf 180 cm", "Glass beaker 250 ml", "Extension lead 5 m",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_TAXES = (5, 7, 10, 19, 20, 25)
_DAYS_TO_PAY = (10, 14, 21, 30, 45, 60)
_CENT = Decimal("0.01")

#: by spelling; those with the month first are what a reader has to take from the country
_DATES: tuple[Callable[[dt.date], str], ...] = (
    lambda day: f"{day.day} {_MONTHS[day.month - 1]} {day.year}",
    lambda day: f"{day:%d.%m.%Y}",
    lambda day: f"{day:%m/%d/%Y}",
    lambda day: f"{day:%Y-%m-%d}",
    lambda day: f"{_MONTHS[day.month - 1]} {day.day}, {day.year}",
    lambda day: f"{day.day:02}-{_MONTHS[day.month - 1][:3]}-{day.year}",
)
_AMOUNTS: tuple[Callable[[Decimal], str], ...] = (
    lambda amount: f"{amount:,.2f}",
    lambda amount: f"{amount:.2f}",
    lambda amount: f"{amount:,.2f}".translate(str.maketrans(",.", ".,")),
)


class BusinessInvoice(BaseModel):
    """What stands in the head and at the foot of an invoice."""

    invoice_number: Number
    company: Name
    address: Address
    invoice_date: dt.date
    due_date: dt.date | None
    total: Decimal
    currency: Annotated[str, Field(max_length=3)]


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its true values by field; a field that the text does not have is None."""

    text: str
    truth: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Parts:
    """All that a layout prints, spelled as this invoice spells it."""

    number: str
    seller: tuple[str, str, str]
    buyer: tuple[str, str, str]
    date: str
    due: str
    delivered: str
    lines: list[str]
    net: str
    tax: str
    rate: int
    total: str
    currency: str


def make_business_invoice(number: int) -> Document:
    """Invoice ``number``; the same for the same number. Layouts and spellings take turns."""
    chance = random.Random(f"business {number}")
    seller, buyer = chance.sample(_FIRMS, 2)
    code = chance.choice(("INV-{}", "{}", "R{}", "2026/{}", "AF {}"))
    code = code.format(chance.randint(1000, 99999))
    day = dt.date(2026, 1, 1) + dt.timedelta(chance.randint(0, 330))
    due = day + dt.timedelta(chance.choice(_DAYS_TO_PAY))
    delivered = day - dt.timedelta(chance.randint(1, 9))
    spelled, amount = _DATES[number % len(_DATES)], _AMOUNTS[number // 2 % len(_AMOUNTS)]
    currency = "USD" if number % len(_DATES) in (2, 4) else chance.choice(("EUR", "GBP", "CHF"))
    net, lines = Decimal(0), []
    for thing in chance.sample(_THINGS, chance.randint(2, 4)):
        quantity, price = chance.randint(1, 40), Decimal(chance.randint(195, 18999)) / 100
        net += quantity * price
        lines.append(f"{quantity} x {thing} {amount(price)} {amount(quantity * price)}")
    rate = chance.choice(_TAXES)
    tax = (net * rate / 100).quantize(_CENT, ROUND_HALF_UP)
    parts = _Parts(
        number=code,
        seller=seller,
        buyer=buyer,
        date=spelled(day),
        due=spelled(due),
        delivered=spelled(delivered),
        lines=lines,
        net=amount(net),
        tax=amount(tax),
        rate=rate,
        total=amount(net + tax),
        currency=currency,
    )
    truth = {
        "invoice_number": code,
        "company": seller[0],
        "address": ", ".join(seller[1:]),
        "invoice_date": day,
        "due_date": due,
        "total": net + tax,
        "currency": currency,
    }
    return Document("\n".join(_LAYOUTS[number % len(_LAYOUTS)](parts)) + "\n", truth)


# --- layouts --------------------------------------------------------------------


def _labels(p: _Parts) -> list[str]:
    return [
        *p.seller, "", "INVOICE", f"Invoice number: {p.number}", f"Invoice date: {p.date}",
        f"Due date: {p.due}", "", "Bill to:", *p.buyer, "", *p.lines, "",
        f"Net {p.net}", f"VAT {p.rate} % {p.tax}", f"Total {p.currency} {p.total}",
    ]  # fmt: skip


def _columns(p: _Parts) -> list[str]:
    return [
        f"{p.seller[0]}   INVOICE {p.number}", ", ".join(p.seller[1:]), "",
        "Delivered | Issued | Payable by", f"{p.delivered} | {p.date} | {p.due}", "",
        f"Customer: {p.buyer[0]}, {p.buyer[1]}, {p.buyer[2]}", "Qty Item Price Amount",
        *p.lines, f"Subtotal ({p.currency}) {p.net}", f"Tax {p.rate} % {p.tax}",
        f"Amount due ({p.currency}) {p.total}",
    ]  # fmt: skip


def _letter(p: _Parts) -> list[str]:
    return [
        *p.seller, "", *p.buyer, "", p.date, f"Invoice {p.number}", "",
        f"For the goods delivered on {p.delivered} we charge:", *p.lines, "",
        f"Sum without tax {p.net} {p.currency}", f"plus {p.rate} % tax {p.tax} {p.currency}",
        f"Gross amount {p.total} {p.currency}", "", f"Please pay by {p.due}.",
    ]  # fmt: skip


def _buyer_first(p: _Parts) -> list[str]:
    return [
        "Invoice to", *p.buyer, "", "From", *p.seller, "",
        f"No. {p.number}  Date {p.date}  Due {p.due}", f"Currency: {p.currency}", "",
        *p.lines, f"Net total {p.net}", f"Tax total ({p.rate} %) {p.tax}",
        f"Grand total {p.total}", "Thank you for your business.",
    ]  # fmt: skip


def _foot(p: _Parts) -> list[str]:
    return [
        f"INVOICE NO {p.number}", f"DATE {p.date}", f"ORDERED {p.delivered}", "SOLD TO",
        ", ".join(p.buyer), *p.lines, f"TOTAL BEFORE TAX {p.net}",
        f"SALES TAX {p.rate} % {p.tax}", f"TOTAL DUE {p.currency} {p.total}",
        f"PAYMENT DUE {p.due}", f"{p.seller[0]}, {p.seller[1]}, {p.seller[2]}",
    ]  # fmt: skip


_LAYOUTS = (_labels, _columns, _letter, _buyer_first, _foot)
