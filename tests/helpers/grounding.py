"""What the tests of grounded answers share: a text, a record, and an answer that is invented."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel

TEXT = """HARBOUR  "LANE"\\ bak/ery
14/03/2026 10:20, due 5th March 2027
Total RM1,284.50 (-2.00)  2 125.00 Café 7
\tinfo@lane.example"""


class Shop(BaseModel):
    name: str | None
    address: str | None
    total: Decimal | None


INVENTED = '{"name":"Harbour Bakery","address":"1 Main Street","total":99.95}'
