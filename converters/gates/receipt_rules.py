"""A plain regular-expression extractor for receipts, to compare a model with.

Written on the receipts that are not scored. They come from the same shops as the scored
ones, which favours rules that know the words of these shops.
"""

from __future__ import annotations

import re

from edgeslm.evaluation.normalize import normal_amount, normal_date

_MONTH = r"(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*"
_DATE = re.compile(
    rf"(?<![\d/.-])(?:\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:\d{{4}}|\d{{2}})"
    rf"|\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}|\d{{1,2}}[- /]?{_MONTH}[- /]?(?:\d{{4}}|\d{{2}})"
    rf"|{_MONTH} \d{{1,2}}, ?\d{{4}})(?![\d/-])",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"(?<![\d.])-?\d{1,3}(?:,\d{3})*\.\d{2}(?!\d)|(?<![\d.])-?\d+\.\d{2}(?!\d)")

_LEGAL_FORM = re.compile(
    r"\bS\.?D\.?N\.?\b|\bS/B\b|\bBHD\b|\bLTD\b|\bLLC\b|\bINC\b|\bENTERPRISE\b|\bTRADING\b",
    re.IGNORECASE,
)
_NOT_A_COMPANY = re.compile(
    r"INVOICE|RECEIPT|NUMBER|WELCOME|THANK|RETURNABLE|^TAN [A-Z ]+$|^[\W\d]*$|^.?$", re.IGNORECASE
)
#: a name that was broken over two lines goes on with one of these
_CONTINUES = re.compile(r"^(?:CO\.|SDN|ENTERPRISE|\(M\)|BHD)", re.IGNORECASE)
_REGISTRATION = re.compile(
    r"\s*\(?(?:\b(?:CO|REG|ROC|NO)\b[ .:]*)*\(?[A-Z]{0,2}\d{4,}[ -]*[A-Z]?\)?.{0,6}$", re.IGNORECASE
)
_ADDRESS_BEGINS = re.compile(
    r"^(?:NO\b[. :]*\d|LOT\b|PT\b|JALAN\b|JLN\b|LEVEL\b|GROUND\b|\d+\w?(?:ST|ND|RD|TH) F|UNIT\b"
    r"|BLOCK\b|BLK\b|SUITE\b|PLOT\b|TAMAN\b|\w+(?:[-&,/.]\s*\w+)*,?.* JALAN"
    r"|\d+[A-Z]?(?:[-&,/.]\s*\w+)*,?\s+[A-Z])",
    re.IGNORECASE,
)
_ADDRESS_ENDS = re.compile(
    r"TEL|PHONE|MOBILE|FAX|GST|SST|VAT|INVOICE|RECEIPT|CASH|DATE|E-?MAIL|WWW|HTTP|REG|CO\. ?NO"
    r"|TAX|BILL|TABLE|ROC|ID ?NO|@|\(?\d{6,}-[A-Z]|^\W*$|^[\d() +-]{8,}$|SALE|TRANS|CARRY OUT",
    re.IGNORECASE,
)
_MAX_ADDRESS_LINES = 6

#: what stands before the amount to pay, most certain first
_TOTALS = tuple(
    re.compile(words, re.IGNORECASE)
    for words in (
        r"ROUNDED|AFTER ROUND|GRAND TOTAL|NETT? TOTAL|FINAL TOTAL|PAYABLE|AMOUNT DUE|TOTAL DUE",
        r"TOTAL.*INC",
        r"^\W*TOTAL\W*(?:RM)?\W*(?:[\d.,]+)?$",
        r"TOTAL",
    )
)
_NOT_A_TOTAL = re.compile(
    r"SUB ?-?TOTAL|QTY|QUANTITY|ITEM|DISC|SAVING|EXCL|\bTAX|ADJ|POINT|TOTAL GST|IN TOTAL",
    re.IGNORECASE,
)
#: lines after the words in which the amount may stand
_REACH = 6


def extract(text: str) -> dict[str, str | None]:
    """Company, date, address and total of a receipt; None for what was not found."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    company, after = find_company(lines)
    return {
        "company": company,
        "date": find_date(lines),
        "address": find_address(lines[after:]),
        "total": find_total(lines),
    }


def find_company(lines: list[str]) -> tuple[str | None, int]:
    """The first line of the head with a legal form, else the first that is no heading.

    Returns:
        the name without its registration number, and the index of the line after it.
    """
    head = [i for i, line in enumerate(lines[:4]) if not _NOT_A_COMPANY.search(line)]
    if not head:
        return None, 0
    at = next((i for i in head if _LEGAL_FORM.search(lines[i])), head[0])
    start = at - 1 if at > 0 and _CONTINUES.match(lines[at]) else at
    return _REGISTRATION.sub("", " ".join(lines[start : at + 1])) or None, at + 1


def find_date(lines: list[str]) -> str | None:
    """The first date, day first, as YYYY-MM-DD."""
    for line in lines:
        for match in _DATE.finditer(line):
            date = normal_date(match[0])
            if date is not None:
                return date
    return None


def find_address(lines: list[str]) -> str | None:
    """The lines from the first that begins like an address to the first of another kind."""
    head = lines[:8]
    start = next((i for i, line in enumerate(head) if _is_address(line)), None)
    if start is None:
        return None
    kept: list[str] = []
    for line in lines[start : start + _MAX_ADDRESS_LINES]:
        if kept and _ADDRESS_ENDS.search(line):
            break
        kept.append(line)
    return " ".join(kept)


def _is_address(line: str) -> bool:
    return bool(_ADDRESS_BEGINS.match(line)) and not _DATE.search(line)


def find_total(lines: list[str]) -> str | None:
    """The amount beside or soon after the surest words for a total; the last such line wins."""
    for words in _TOTALS:
        for i in reversed(range(len(lines))):
            if words.search(lines[i]) and not _NOT_A_TOTAL.search(lines[i]):
                amount = _amount_from(lines, i)
                if amount is not None:
                    return amount
    return None


def _amount_from(lines: list[str], start: int) -> str | None:
    for line in lines[start : start + _REACH]:
        amounts = _AMOUNT.findall(line)
        if amounts:
            return normal_amount(amounts[-1])
    return None
