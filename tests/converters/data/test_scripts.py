"""Texts of any script and form: near-duplicates, label noise, baselines, the linear model."""

from __future__ import annotations

import unicodedata

import pytest

from converters.data.label_noise import label_suspects
from converters.data.near_duplicates import near_duplicates
from converters.data.rows import Row, part_of
from converters.gates.baselines import baselines
from converters.onnx.linear import fit_features
from edgeslm.formats.text import fold
from tests.helpers.recipes import classify

REFUNDS = [
    "请给我退款",
    "我要退钱",
    "退款什么时候到",
    "请退还我的钱",
    "能退款吗",
    "申请退款",
    "想退货退款",
]
CARDS = [
    "我的卡丢了",
    "银行卡被吞了",
    "卡片在哪里",
    "请寄新卡",
    "卡号是多少",
    "需要补办卡",
    "卡片已损坏",
]


KOREAN = "서울에서 부산까지 가는 기차표"


@pytest.mark.parametrize("tails", [("", "！", "谢谢"), ("です", "ます", "を")])
def test_scripts_without_spaces_are_judged_by_their_characters(tails):
    def rows(texts, label):
        return [Row(f"{label}{i}{tail}", text + tail, label) for i, text in enumerate(texts)
                for tail in tails]  # fmt: skip

    wrong = Row("wrong", "请退款给我退钱", "card")
    suspects = label_suspects([*rows(REFUNDS, "refund"), *rows(CARDS, "card"), wrong])
    assert len(rows(REFUNDS, "refund")) + len(rows(CARDS, "card")) in {s.row for s in suspects}


def test_texts_that_share_nothing_have_no_suspects():
    odd = [chr(0x4E00 + i) for i in range(12)]
    assert label_suspects([Row(str(i), text, "ab"[i % 2]) for i, text in enumerate(odd)]) == []


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        (KOREAN, unicodedata.normalize("NFD", KOREAN)),
        ("Ｗｈｅｒｅ ｉｓ ｍｙ ｃａｒｄ", "where is my card"),
        ("where is my card", "where is my ca\u00adrd\u200b"),
        ("请问我的退款什么时候能到账", "请问我的退款什么时候能到账呢"),
        ("请问我的退款什么时候能到账", "请问 我的 退款 什么时候 能 到账"),
        (KOREAN, KOREAN.replace(" ", "")),
        ("ฉันจะได้เงินคืนเมื่อไหร่", "ฉัน จะ ได้ เงินคืน เมื่อไหร่"),
    ],
)  # fmt: skip
def test_forms_of_a_text_are_near_duplicates_and_in_one_part(text, twin):
    other = ["nothing to do with it at all", "完全不同的另一句话在这里"]
    twins = list(near_duplicates([text, *other, twin], 0.8, lambda *_: True))
    assert twins == [None, None, None, 0]
    if fold(text) == fold(twin):
        assert part_of(text, gold=0.3, development=0.3) == part_of(twin, gold=0.3, development=0.3)


@pytest.mark.parametrize("cut", ["whole", "spaced"])
def test_baselines_and_the_linear_model_read_scripts_without_spaces(cut):
    texts = [*REFUNDS, *CARDS]
    if cut == "spaced":  # no word of two letters
        texts = [" ".join(text) for text in texts]
    rows = [Row(str(i), t, "refund" if i < len(REFUNDS) else "card") for i, t in enumerate(texts)]
    recipe = classify("a.jsonl", labels=["refund", "card"])
    for name, said in baselines(recipe, rows, rows).items():
        right = sum(p.answer == row.answer for p, row in zip(said, rows, strict=True))
        assert name == "majority" or right == len(rows)
    assert fit_features(texts).letters.terms
