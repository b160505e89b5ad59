"""Words that stand beside a number: currencies, and magnitudes such as million."""

from __future__ import annotations

import re
from typing import Final

#: what a word behind a number multiplies it by; a billion as in English
MAGNITUDES: Final = {
    **dict.fromkeys(("thousand", "thousands", "tausend", "ribu"), 10**3),
    **dict.fromkeys(("lakh", "lakhs", "lac"), 10**5),
    **dict.fromkeys(("mio", "mln", "million", "millions", "millionen", "juta"), 10**6),
    **dict.fromkeys(("millones", "milioni", "milhões", "miljoen", "miljoner"), 10**6),
    **dict.fromkeys(("crore", "crores"), 10**7),
    **dict.fromkeys(("bn", "billion", "billions", "mrd", "milliard", "milliards"), 10**9),
    **dict.fromkeys(("milliarden", "miliar", "miljard", "miliardi"), 10**9),
}

# What `plain` makes of a currency sign is ``$``, with letters before it in US$, R$ and NT$.

#: currencies beside the numbers of a running text, as regular expressions; other codes are words
#: there, such as ALL and TOP
IN_TEXT: Final = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN"
    "|MYR|NOK|NZD|PEN|PHP|PLN|RM|RMB|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
    "|DEM|DM|FRF|FF|ITL|NLG"
    "|Fr|Ft|Kč|Rp|Rs|kr|zł|lei|руб|грн"
)

# ISO 4217 without funds, metals and the codes that are common words (ALL, CUP, TOP), and the codes
# that the euro took the place of
_CODES: Final = (
    "aed afn amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp "
    "byn bzd cad cdf chf clp cny cop crc cuc cve czk djf dkk dop dzd egp ern etb eur fjd fkp "
    "gbp gel ghs gip gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr iqd irr isk jmd jod jpy kes "
    "kgs khr kmf kpw krw kwd kyd kzt lak lbp lkr lrd lsl lyd mad mdl mga mkd mmk mnt mop mru mur "
    "mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub "
    "rwf sar sbd scr sdg sek sgd shp sle sll sos srd ssp stn svc syp szl thb tjs tmt tnd try "
    "ttd twd tzs uah ugx usd uyu uzs ves vnd vuv wst xaf xcd xof xpf yer zar zmw zwl "
    "ats bef dem eek esp fim frf grd iep itl ltl luf lvl mtl nlg pte sit skk"
)
_SHORT: Final = (
    "rm rmb rp rs kr skr nkr dkr kč kčs zł ft fr sfr ff dm din kn lei leu lv tl ksh tsh ush "
    "руб р грн ₽ лв дин ден 元 圆 圓 円 원 บาท dh dhs bs "
)
_NAMES: Final = (
    "euro euros dollar dollars dólar dólares pound pounds sterling yen yuan renminbi won baht "
    "ringgit rupiah rupee rupees rupiya peso pesos real reais rand lira lire liras zloty złoty "
    "złote złotych franc francs franken franchi krona kronor krone kroner koruna korun koruny "
    "forint lev leva hryvnia dinar dinars dirham dirhams riyal riyals shekel shekels naira cedi "
    "peseta pesetas schilling gulden escudo escudos рубль рубля рублей гривна гривен"
)
#: what a currency is called where a text is one amount and nothing else, folded
NAMES: Final = frozenset(f"{_CODES} {_SHORT} {_NAMES}".split())
#: letters before a ``$``, folded
DOLLARS: Final = frozenset(
    "a ar au b bz c ca can cl co d ec f g hk j l mx n nt nz r rd s sg t tt u us z".split()  # noqa: SIM905  a table
)

_DOLLAR: Final = (
    "usd aud cad nzd hkd sgd twd mxn clp cop ars brl bnd bbd bmd bsd bzd fjd gyd jmd kyd lrd nad "
    "sbd srd ttd uyu xcd dop cve nio mop top"
)
#: the codes that other names and signs of currencies can mean, folded
_MEANT: Final = {
    **dict.fromkeys(("€", "euro", "euros"), "eur"),
    **dict.fromkeys(("£", "pound", "pounds"), "gbp egp lbp syp sdg ssp gip fkp shp"),
    **dict.fromkeys(("$", "dollar", "dollars", "dólar", "dólares"), _DOLLAR),
    **dict.fromkeys(("us$", "u$"), "usd"),
    **dict.fromkeys(("a$", "au$"), "aud"),
    **dict.fromkeys(("c$", "ca$", "can$"), "cad"),
    **dict.fromkeys(("hk$",), "hkd"),
    **dict.fromkeys(("nt$",), "twd"),
    **dict.fromkeys(("nz$",), "nzd"),
    **dict.fromkeys(("r$", "real", "reais"), "brl"),
    **dict.fromkeys(("s$", "sg$"), "sgd"),
    **dict.fromkeys(("¥", "円", "圓", "圆", "元"), "jpy cny twd hkd"),
    **dict.fromkeys(("yen",), "jpy"),
    **dict.fromkeys(("rmb", "yuan", "renminbi"), "cny"),
    **dict.fromkeys(("₩", "won", "원"), "krw kpw"),
    **dict.fromkeys(("rm", "ringgit"), "myr"),
    **dict.fromkeys(("rp", "rupiah"), "idr"),
    **dict.fromkeys(("₹",), "inr"),
    **dict.fromkeys(("rs", "₨", "rupee", "rupees"), "inr pkr lkr npr mur scr"),
    **dict.fromkeys(("฿", "baht", "บาท"), "thb"),
    **dict.fromkeys(("₫",), "vnd"),
    **dict.fromkeys(("₽", "руб", "рубль", "рубля", "рублей"), "rub"),
    **dict.fromkeys(("₴", "грн", "гривна", "гривен", "hryvnia"), "uah"),
    **dict.fromkeys(("₪", "shekel", "shekels"), "ils"),
    **dict.fromkeys(("₺", "tl"), "try"),
    **dict.fromkeys(("zł", "zloty", "złoty", "złote", "złotych"), "pln"),
    **dict.fromkeys(("kč", "kčs", "koruna", "korun", "koruny"), "czk"),
    **dict.fromkeys(("ft", "forint"), "huf"),
    **dict.fromkeys(("kr", "krona", "kronor", "krone", "kroner"), "sek nok dkk isk"),
    **dict.fromkeys(("fr", "sfr", "franken", "franc", "francs"), "chf frf xaf xof xpf"),
}
_TOKEN: Final = re.compile(r"[^\W\d_]+\$?|[$€£¥₩₹₨฿₫₽₴₪₺]")


def currencies(text: str) -> frozenset[str]:
    """The codes of the currency that an amount names, several where its sign can mean several;
    none where it names none that is known."""
    for token in _TOKEN.findall(text.casefold()):
        codes = _MEANT.get(token) or (token if token in _CODES.split() else "")
        if codes:
            return frozenset(codes.split())
    return frozenset()
