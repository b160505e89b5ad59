"""Made-up invoices: the same for the same number, different ones for different numbers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

_SELLERS = (
    ("Alder & Finch Stationers", "8 Quay Street, Bristol"),
    ("Breitner Werkzeuge GmbH", "Hafenweg 31, 48155 Münster"),
    ("Cobalt Lab Supplies Ltd", "Unit 4, Kiln Road, Leeds"),
    ("Dufour Papeterie SARL", "12 rue des Tanneurs, 59000 Lille"),
    ("Evergreen Garden Wholesale", "700 Orchard Avenue, Salem, OR"),
    ("Fjord Marine Parts AS", "Strandgaten 19, 5013 Bergen"),
    ("Granite Kitchen Equipment", "41 Foundry Lane, Sheffield"),
)
_THINGS = (
    "Copy paper A4 80 g", "Hex bolt M8 x 40", "Nitrile gloves, box of 100", "Desk lamp LED",
    "Ring binder 75 mm", "Terracotta pot 24 cm", "Bilge pump 12 V", "Chef's knife 21 cm",
    "Laser toner black", "Safety goggles", "Garden hose 25 m", "Mooring rope 14 mm",
    "Steel shelf 180 cm", "Glass beaker 250 ml", "Extension lead 5 m", "Tarpaulin 3 x 4 m",
    "Whiteboard marker, set of 8", "Cable tie 200 mm, bag", "Cutting board, beech", "Hand trowel",
)  # fmt: skip
_TAXES = (5, 7, 10, 19, 20, 25)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Made:
    """The text of an invoice, and the right answer as JSON without spaces."""

    text: str
    answer: str


def make_invoice(number: int, items: int) -> Made:
    """Invoice ``number``, with ``items`` different positions that add up."""
    chance = random.Random(number)
    seller, address = chance.choice(_SELLERS)
    code = f"{seller[:2].upper()}-{chance.randint(1000, 99999)}"
    year, month, day = chance.randint(2021, 2025), chance.randint(1, 12), chance.randint(1, 28)
    rows, answers, net = [], [], Decimal(0)
    for position, thing in enumerate(chance.sample(_THINGS, items), 1):
        quantity, price = chance.randint(1, 60), Decimal(chance.randint(95, 18999)) / 100
        net += quantity * price
        rows.append(
            f"{position:>3}  {thing:<30}{quantity:>5}{price:>11.2f}{quantity * price:>12.2f}"
        )
        answers.append(
            f'{{"description":{json.dumps(thing, ensure_ascii=False)},"quantity":{quantity},'
            f'"unit_price":{price:.2f},"amount":{quantity * price:.2f}}}'
        )
    rate = chance.choice(_TAXES)
    tax = (net * rate / 100).quantize(_CENT, ROUND_HALF_UP)
    date = f"{year}-{month:02}-{day:02}"
    title = json.dumps(seller.upper(), ensure_ascii=False)
    answer = (
        f'{{"number":"{code}","date":"{date}","seller":{title},'
        f'"items":[{",".join(answers)}],"net":{net:.2f},"tax":{tax},"total":{net + tax:.2f}}}'
    )
    text = "\n".join(
        [
            seller.upper(),
            address,
            "",
            f"Invoice number: {code}",
            f"Invoice date:   {date}",
            "",
            f"Pos  {'Description':<30}{'Qty':>5}{'Unit price':>11}{'Amount':>12}",
            *rows,
            "",
            f"Net amount {net:>12.2f}",
            f"VAT {rate} % {tax:>14.2f}",
            f"Total due  {net + tax:>12.2f}",
        ]
    )
    return Made(text, answer)
