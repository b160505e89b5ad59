"""Dates and times: every usual spelling comes back as the day it was written from."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslm.tasks.extraction.readings.dates import dates, read_date
from edgeslm.tasks.extraction.readings.names import MONTHS
from edgeslm.tasks.extraction.readings.times import times


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("12. Dezember 2023", "2023-12-12"),
        ("12 décembre 2023", "2023-12-12"),
        ("12 de\u0301cembre 2023", "2023-12-12"),
        ("1er janvier 2024", "2024-01-01"),
        ("12 de diciembre de 2023", "2023-12-12"),
        ("12 de diciembre del 2023", "2023-12-12"),
        ("1º de março de 2023", "2023-03-01"),
        ("12 d'octobre 2023", "2023-10-12"),
        ("12 grudnia 2023 r.", "2023-12-12"),
        ("12.XII.2023", "2023-12-12"),
        ("12 декабря 2023 г.", "2023-12-12"),
        ("12 Δεκεμβρίου 2023", "2023-12-12"),
        ("12 Aralık 2023", "2023-12-12"),
        ("12 ARALIK 2023", "2023-12-12"),
        ("12. joulukuuta 2023", "2023-12-12"),
        ("2023. december 12.", "2023-12-12"),
        ("2023年12月12日", "2023-12-12"),
        ("2023 年 12 月 12 日", "2023-12-12"),
        ("二〇二三年十二月二十一日", "2023-12-21"),
        ("令和5年12月12日", "2023-12-12"),
        ("令和元年5月1日", "2019-05-01"),
        ("民國112年12月12日", "2023-12-12"),
        ("2023년 12월 12일", "2023-12-12"),
        ("12. 12. 2023", "2023-12-12"),
        ("12 / 12 / 2023", "2023-12-12"),
        ("12.\u00a012.\u00a02023", "2023-12-12"),
        ("12\u00a0December\u00a02023", "2023-12-12"),
        ("١٢/١٢/٢٠٢٣", "2023-12-12"),
        ("２０２３／１２／１２", "2023-12-12"),
        ("12‑12‑2023", "2023-12-12"),
        ("Tuesday, 12 December 2023", "2023-12-12"),
        ("den 12. Dez. 2023, 10:20 Uhr", "2023-12-12"),
        ("OCT 3, 2016", "2016-10-03"),
        ("Mar 6, '27", "2027-03-06"),
        ("3rd Sept 2016", "2016-09-03"),
        ("12th of March 2023", "2023-03-12"),
        ("14MAR2026", "2026-03-14"),
        ("12DEC2023", "2023-12-12"),
        ("5OCT2023", "2023-10-05"),
        ("1ene2024", "2024-01-01"),
        ("1agosto2024", "2024-08-01"),
        ("12-DEC-23", "2023-12-12"),
        ("12DEC70", "1970-12-12"),
        ("12-DEC-69", "2069-12-12"),
        ("12 OGOS 2018", "2018-08-12"),
        ("2 Mac 2018", "2018-03-02"),
        ("Khamis, 5 Julai 2018", "2018-07-05"),
        ("31 Disember 2018", "2018-12-31"),
        ("17 Agustus 2018", "2018-08-17"),
        ("Senin, 3 Maret 2018", "2018-03-03"),
        ("5 Maerz 2023", "2023-03-05"),
        ("5. MAERZ 2023", "2023-03-05"),
        ("6. Jänner 2023", "2023-01-06"),
        ("6. Jaenner 2023", "2023-01-06"),
        ("3 Eyluel 2023", "2023-09-03"),
        ("2 Fevrier 2023", "2023-02-02"),
        ("2 Decembre 2023", "2023-12-02"),
        ("15 aout 2023", "2023-08-15"),
        ("12\u00ad/05/\u200b2018", "2018-05-12"),
        ("\u200e12\u200e/\u200e05\u200e/\u200e2018\u200f", "2018-05-12"),
        ("12 De\u00adcem\u00adber 2023", "2023-12-12"),
        ("\ufeff12 December 2023", "2023-12-12"),
        ("12 Dec 69", "2069-12-12"),
        ("12 Dec 70", "1970-12-12"),
        ("12·12·2023", "2023-12-12"),
        ("12\\12\\2023", "2023-12-12"),
        ("12_12_2023", "2023-12-12"),
        ("2023_12_12", "2023-12-12"),
        ("the 12th day of December 2023", "2023-12-12"),
        ("12 de desembre de 2023", "2023-12-12"),
        ("1 d'agost de 2023", "2023-08-01"),
        ("2023 m. gruodžio 12 d.", "2023-12-12"),
        ("2023. gada 12. decembris", "2023-12-12"),
        ("12. decembrī 2023", "2023-12-12"),
        ("DEC 12 23", "2023-12-12"),
        ("'23-12-12", "2023-12-12"),
        ("12-11-'23", "2023-11-12"),
    ],
)
def test_a_whole_text_is_a_date_and_so_is_its_place_in_another(text, iso):
    assert str(read_date(text)) == iso
    readable = [written for written in dates(f"Issued: {text}; page 7") if written.readings]
    assert dt.date.fromisoformat(iso) in readable[0].readings


@pytest.mark.parametrize(
    "text",
    [
        "3 X 2.9000",
        "QF12 - 20/1000",
        "0001 05/01",
        "12 x 25",
        "2 out 10",
        "12 March 10:30",
        "12 March",
        "12/2023",
        "1.2",
        "10:20:30",
    ],
)
def test_what_is_no_date_is_none(text):
    assert read_date(text) is None
    assert not any(written.readings for written in dates(text))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("REG #2- 24/06/2018 22:43", "2018-06-24"),
        ("2/ 24-06-2018", "2018-06-24"),
        ("11:03 - 25/06/18 11:18", "2018-06-25"),
        ("V2.82 06/12/2016", "2016-12-06"),
        ("5-24.06.2018", "2018-06-24"),
        ("#001-0934-0001 25/01/2018", "2018-01-25"),
        ("14 October 1066", "1066-10-14"),
        ("1492-10-12", "1492-10-12"),
        ("14/07/1789", "1789-07-14"),
        ("12/05/18-14/05/18", "2018-05-12"),
    ],
)
def test_a_number_before_a_date_is_not_its_day_and_its_month_not_a_year(text, iso):
    first = next(written for written in dates(text) if written.readings)
    assert str(next(iter(first.readings))) == iso


def test_what_a_spelling_can_mean():
    text = "on 03/04/26"
    readings = [(text[slice(*written.span)], written.readings) for written in dates(text)]
    assert [(part, [day.isoformat() for day in days]) for part, days in readings] == [
        ("03/04/26", ["2026-04-03", "2026-03-04", "2003-04-26"])
    ]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("03/04/2026", ["2026-04-03", "2026-03-04"]),
        ("03/04/2026 and 25/04/2026", ["2026-04-03"]),
        ("03/04/2026 and 04/25/2026", ["2026-03-04"]),
        ("03/04/2026, 25/04/2026 and 04/25/2026", ["2026-04-03", "2026-03-04"]),
        ("03/04/2026 and 2026-04-25", ["2026-04-03", "2026-03-04"]),
        ("03/03/2026", ["2026-03-03"]),
    ],
)
def test_an_open_order_is_that_of_the_documents_other_dates(text, first):
    assert [day.isoformat() for day in next(dates(text)).readings] == first


def test_a_date_without_marks_is_one_by_itself_alone():
    readings = [w.readings for w in dates("no 20180304, ref 920180304 and 20181304")]
    assert [[day.isoformat() for day in days] for days in readings] == [["2018-03-04"]]


@pytest.mark.parametrize(
    "text",
    [
        "31/02/2018",
        "27/13/2018",
        "O5/O6/2O18",
        "12 December, noon",
        "December 12",
        "12月12日",
        "12 ธันวาคม 2566",
        "12 Desemba 2023",
        "12/12/2566",
        "2024-02-30",
        "2024-13-04",
        "2024/30/02",
        "12|12|2023",
        "2024年3月",
        "2024년 3월",
        "二〇二四年三月",
        "令和6年3月",
    ],
)
def test_what_looks_like_a_date_and_cannot_be_read_is_said(text):
    assert next(written.readings for written in dates(f"on {text}")) == {}
    readings = [w.readings for w in dates(f"on {text} or 1 March 2026")]
    assert {dt.date(2026, 3, 1): 1.0} in readings


DAYS = st.dates(dt.date(1970, 1, 1), dt.date(2069, 12, 31))
NUMERIC = ["{d}.{m}.{y}", "{d:02}/{m:02}/{y}", "{d}. {m}. {y}", "{d}-{m}-{s:02}",
           "{y}-{m:02}-{d:02}", "{y}/{m}/{d}", "{y}年{m}月{d}日", "{y}년 {m}월 {d}일",
           "{d}\u00a0{m}\u00a0{y}"]  # fmt: skip
NAMED = ["{d} {n} {y}", "{d}. {n} {y}", "{d}-{n}-{y}", "{d}{n}{y}", "{d}-{n}-{s:02}",
         "{d:02}{n}{s:02}", "{n} {d}, {y}", "{d} de {n} de {y}", "{d}\u00a0{n}\u00a0{y}",
         "{y} {n} {d}"]  # fmt: skip
NAMES = {
    month: [n for n, m in MONTHS.items() if m == month and len(n) > 2] for month in range(1, 13)
}


@given(day=DAYS, form=st.sampled_from(NUMERIC))
def test_every_numeric_spelling_is_read_back(day, form):
    written = form.format(d=day.day, m=day.month, y=day.year, s=day.year % 100)
    assert any(day in spelled.readings for spelled in dates(f"on {written}."))
    assert read_date(written) == day


@given(day=DAYS, form=st.sampled_from(NAMED), data=st.data())
def test_every_month_by_name_is_read_back(day, form, data):
    name = data.draw(st.sampled_from(NAMES[day.month]))
    name = data.draw(st.sampled_from([name, name.upper(), name.title()]))
    if set(name) <= set("ivxIVX") and "-" not in form:
        return  # months in Roman numerals have marks around them
    written = form.format(d=day.day, n=name, y=day.year, s=day.year % 100)
    assert read_date(written) == day
    assert any(day in spelled.readings for spelled in dates(f"on {written}."))


@given(
    day=DAYS,
    form=st.sampled_from(["{d:02}/{m:02}/{y}", "{y}-{m:02}-{d:02}", "{d} {n} {y}"]),
    hidden=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from("\u00ad\u200b\u200e\u200f\ufeff"))
    ),
)
def test_invisible_characters_inside_a_date_change_neither_it_nor_its_place(day, form, hidden):
    written = form.format(d=day.day, m=day.month, y=day.year, n=f"{day:%B}")
    for place, character in hidden:
        written = written[:place] + character + written[place:]
    assert read_date(written) == day
    text = f"on {written}."
    place = next(w for w in dates(text) if w.readings)
    inside = text[place.start : place.end]
    assert day in place.readings
    assert written.strip("\u00ad\u200b\u200e\u200f\ufeff") == inside


@given(st.text("0123456789./- '年月日十May,Ol\u00a0\u00ad\u200b", max_size=40))
def test_whatever_is_written_is_read_in_its_place(text):
    for spelled in dates(text):
        assert 0 <= spelled.start < spelled.end <= len(text)
    assert read_date(text) is None or isinstance(read_date(text), dt.date)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("10:20", "10:20:00"),
        ("10:20:59 PM", "22:20:59"),
        ("12 am", "00:00:00"),
        ("2 p.m.", "14:00:00"),
        ("10.20 Uhr", "10:20:00"),
        ("10h20", "10:20:00"),
        ("10.00.53PM", "22:00:53"),
        ("10 h 20", "10:20:00"),
        ("10\u200e:20", "10:20:00"),
        ("18h", "18:00:00"),
        ("10時20分", "10:20:00"),
        ("１０：２０", "10:20:00"),
        ("3:30 p. m.", "15:30:00"),
        ("3:30 p.m", "15:30:00"),
        ("3:30 P M", "15:30:00"),
        ("3 p. m.", "15:00:00"),
        ("12:30 a. m.", "00:30:00"),
        ("午後10時30分", "22:30:00"),
        ("午前0時5分", "00:05:00"),
        ("午後22:30", "22:30:00"),
        ("오후 10:30", "22:30:00"),
        ("오전 12:30", "00:30:00"),
        ("下午3:05", "15:05:00"),
        ("上午 12:30", "00:30:00"),
        ("下午3点", "15:00:00"),
        ("晚上12:30", "00:30:00"),
        ("PM 10:30", "22:30:00"),
        ("am 10:30", "10:30:00"),
        ("10:30 مساءً", "22:30:00"),
        ("10:30 م", "22:30:00"),
        ("12:30 ص", "00:30:00"),
        ("10:30 μ.μ.", "22:30:00"),
        ("12:30 π.μ.", "00:30:00"),
        ("10:30 ÖS", "22:30:00"),
        ("ÖÖ 12:30", "00:30:00"),
        ("10:30 parcels", "10:30:00"),
    ],
)
def test_times_of_day(text, iso):
    assert [str(time) for spelled in times(f"at {text} sharp") for time in spelled.readings] == [
        iso
    ]


@pytest.mark.parametrize(
    "text", ["25:10", "10:20:30:40", "13 pm", "1.20", "10h2", "24 h", "10 h 20.5", "3時"]
)
def test_what_is_no_time_of_day(text):
    assert not list(times(text))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("ORD #07 -REG #19- 10/03/2018", "2018-03-10"),
        ("#001-001-0934-0001 05/01/2018 13:30-R", "2018-01-05"),
        ("NO. 04 - 2/60, 28-03-18", "2018-03-28"),
        ("12. 12. 2023", "2023-12-12"),
        ("12 12 2023", "2023-12-12"),
    ],
)
def test_one_mark_stands_between_all_numbers_of_a_date(text, iso):
    spelled = [next(iter(written.readings)) for written in dates(text) if written.readings]
    assert [day.isoformat() for day in spelled] == [iso]


def test_the_half_of_the_day_belongs_to_the_time_it_stands_at():
    text = "오후 10:30 / 12:15 AM 12:30 PM"
    spelled = [(text[slice(*item.span)], str(*item.readings)) for item in times(text)]
    assert spelled == [
        ("오후 10:30", "22:30:00"),
        ("12:15 AM", "00:15:00"),
        ("12:30 PM", "12:30:00"),
    ]


@pytest.mark.parametrize(
    "text",
    ["12 · 12 · 2023", "12_12_23", "2018-45-67", "2001-02-30-44", "2018-10-500", "Dec 12 10:30"],
)
def test_what_only_has_the_marks_of_a_date_is_none_and_makes_no_date_less_sure(text):
    assert list(dates(text)) == []


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("paid DEC 12 23 by card", {"2023-12-12": 0.7}),
        ("on '23-11-12 at", {"2023-11-12": 1.0}),
        ("'12-11-23'", {"2023-11-12": 0.6, "2023-12-11": 0.3, "2012-11-23": 0.1}),
    ],
)
def test_how_sure_a_short_year_is(text, readings):
    (spelled,) = dates(text)
    assert {str(day): share for day, share in spelled.readings.items()} == pytest.approx(readings)


def test_a_year_that_can_be_another_number_decides_no_order():
    spelled = {text.start: text.readings for text in dates("DEC 12 23, 03/04/2026")}
    assert list(spelled[11].values()) == pytest.approx([2 / 3, 1 / 3])


def test_a_long_run_of_numerals_is_searched_in_time_proportional_to_it():
    def seconds(n):
        begin = time.perf_counter()
        assert not any(written.readings for written in dates("三" * n))
        return time.perf_counter() - begin

    assert min(seconds(8_000) for _ in range(2)) < 10 * max(0.02, min(map(seconds, [2_000] * 3)))
