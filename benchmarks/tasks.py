"""What the benchmarks extract: four fields of a receipt, and an invoice with its line items."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from pydantic import BaseModel


class Receipt(BaseModel):
    """Four fields; None where the receipt does not show one."""

    company: str | None
    date: dt.date | None
    address: str | None
    total: Decimal | None


class LineItem(BaseModel):
    """One position of an invoice."""

    description: str
    quantity: int
    unit_price: Decimal
    amount: Decimal


class Invoice(BaseModel):
    """An invoice with its positions."""

    number: str
    date: dt.date
    seller: str
    items: list[LineItem]
    net: Decimal
    tax: Decimal
    total: Decimal
