"""The demo: what it shows, that it fits a terminal, and what it says when there is no model."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeslm
from edgeslm.cli.main import main as edgeslm_main
from edgeslm.formats.card import Card, ClassifyTask, ExtractTask, LabelSpec
from edgeslm.models.gguf import GgufModel
from edgeslm.testing import ScriptedEngine
from examples import demo

ROOT = Path(__file__).resolve().parent.parent
TILL = {
    "SERI BAYU": '{"company":"SERI BAYU MINI MARKET SDN BHD","address":"NO. 27",'
    '"date":"2018-06-09","total":"35.85"}',
    "KOPI HARBOUR": '{"company":"KEDAI KOPI HARBOUR VIEW","address":null,"date":"2018-03-21",'
    '"total":"15.80"}',
}
ANSWERS = {
    "HARBOUR LANE BAKERY LTD": '{"company":"HARBOUR LANE BAKERY LTD","date":"2025-03-14",'
    '"address":"14 HARBOUR LANE","total":23.65}',
    "COPPER CREEK HARDWARE": '{"company":"COPPER CREEK HARDWARE","date":"2024-11-29",'
    '"address":"2280 Mill Road, Bozeman, MT 59715","total":74.05}',
    "charged twice": "payment",
    "tracking page": "delivery",
    "does not fit": "return",
    "latest bill": "payment",
    "courier": "delivery",
}
MERCHANTS = {
    "tesco": "Food",
    "shell": "Fuel",
    "mail": "Postage",
    "hilton": "Travel",
    "halfords": "Cars",
}
INTENTS = {"alarm": "alarm", "left in": "balance", "move": "transfer", "umbrella": "weather",
           "painted": "oos"}  # fmt: skip
BANK = {
    "stolen": "lost_or_stolen_phone",
    "too little": "wrong_amount_of_cash_received",
    "never made": "card_payment_not_recognised",
    "how long": "transfer_timing",
    "home address": "edit_personal_details",
}
NAMED = {**MERCHANTS, **INTENTS, **BANK}
FIELDS = ("company", "address", "date", "total")
READER = Card(
    name="r",
    licence="MIT",
    task=ExtractTask(
        json_schema={
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in FIELDS},
            "required": list(FIELDS),
        }
    ),
)
CARD = Card(
    name="s",
    licence="MIT",
    task=ClassifyTask(labels=tuple(LabelSpec(name=n) for n in NAMED.values())),
)


def script(prompt):
    return next(answer for words, answer in {**TILL, **ANSWERS, **NAMED}.items() if words in prompt)


@pytest.fixture
def shown(monkeypatch, capsys):
    """What the demo prints on 80 columns with a model that answers as one should."""
    cards = {"r": READER, "s": CARD, "m": None}
    monkeypatch.setattr(
        edgeslm, "load", lambda name: GgufModel(ScriptedEngine(script, sharpness=40.0), cards[name])
    )
    monkeypatch.setenv("COLUMNS", "80")
    assert demo.main(["--reader", "r", "--specialists", "s", "s", "s", "--model", "m"]) == 0
    return capsys.readouterr().out


def test_the_specialists_come_first_and_name_each_request(shown):
    first = shown.partition("This machine")[0]
    texts = [text for file in demo.REQUESTS for text in demo.sentences(file)]
    for text, intent in zip(texts, NAMED.values(), strict=True):
        start = " ".join(text.split()[:3])
        assert re.search(rf"^  {start}.* {intent} +\d+\.\d% +\d+\.\d\s*$", first, re.MULTILINE)


def test_values_stand_beside_confidence_and_evidence(shown):
    for field, value, evidence in (
        ("company", "HARBOUR LANE BAKERY LTD", "HARBOUR LANE BAKERY LTD"),
        ("date", "2018-06-09", "09/06/2018"),
        ("address", "none", "not in the text"),
        ("date", "2025-03-14", "14/03/2025"),
        ("total", "23.65", "23.65"),
        ("date", "2024-11-29", "11/29/2024"),
        ("total", "74.05", "74.05"),
    ):
        assert re.search(rf"^  {field} +{value} +\d+\.\d% +{evidence}\s*$", shown, re.MULTILINE)


def test_the_label_with_the_longest_bar_is_the_answer(shown):
    bars = re.findall(r"^    (payment|delivery|return) +(\S*) +([\d.]+)%", shown, re.MULTILINE)
    groups = [bars[at : at + 3] for at in range(0, len(bars), 3)]
    assert len(groups) == 5
    chosen = [max(group, key=lambda bar: len(bar[1]))[0] for group in groups]
    assert chosen == list(ANSWERS.values())[2:]
    assert all(abs(sum(float(bar[2]) for bar in group) - 100) < 0.3 for group in groups)


def test_it_fits_80_columns_but_for_the_commands_to_copy(shown):
    lines = shown.splitlines()
    commands = [line for line in lines if "YOUR.txt" in line]
    assert max(len(line) for line in lines if line not in commands) <= 80
    assert [re.sub(r"^.*edgeslm ", "", line) for line in commands] == [
        "extract r YOUR.txt",
        "classify s YOUR.txt",
        "extract m YOUR.txt --grounded --schema examples/receipt.schema.json",
        "classify m YOUR.txt --labels return,payment,delivery",
    ]


def test_its_schema_file_can_be_enforced(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as caught:
        edgeslm_main(["schema", "examples/receipt.schema.json"])
    assert caught.value.code == 0
    assert "refused" not in capsys.readouterr().out


def test_without_the_model_it_names_the_command_that_pulls_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "EDGESLM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (12, "")
    assert "edgeslm pull receipt-fields" in done.stderr
    assert "Traceback" not in done.stderr
