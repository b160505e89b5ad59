"""What the benchmarks extract: four fields of a receipt, and an invoice with its line items.

Strings are bounded, since a model that was not trained for the task may repeat itself
until its budget ends; the longest true values fit well.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

Name = Annotated[str, Field(max_length=80)]
Address = Annotated[str, Field(max_length=160)]
Number = Annotated[str, Field(max_length=20)]


class Receipt(BaseModel):
    """Four fields; None where the receipt does not show one."""

    company: Name | None
    date: dt.date | None
    address: Address | None
    total: Decimal | None


class LineItem(BaseModel):
    """One position of an invoice."""

    description: Name
    quantity: int
    unit_price: Decimal
    amount: Decimal


class Invoice(BaseModel):
    """An invoice with six positions, no more and no less, so that all answers are as long."""

    number: Number
    date: dt.date
    seller: Name
    items: Annotated[list[LineItem], Field(min_length=6, max_length=6)]
    net: Decimal
    tax: Decimal
    total: Decimal
