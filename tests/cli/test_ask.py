"""`edgeslm extract` and `edgeslm classify`: order, errors in their place, exit codes."""

import importlib
import io
import json
import re
import shutil
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.cli import inputs
from edgeslm.cli.answering import _likeliest
from edgeslm.cli.main import main
from edgeslm.errors import EngineError, InputError
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Classification, Timing
from edgeslm.testing import ScriptedEngine
from tests.helpers.cli import ANSWER, LABELS, SCHEMA, jsonl, reader, sorter, stub, use, work
from tests.helpers.pdf import PdfPage, pdf
from tests.helpers.tiny_adapter import write_tiny_adapter
from tests.helpers.tiny_gguf import write_tiny_gguf

__all__ = ["reader", "sorter", "work"]  # fixtures


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process: exit code, JSON lines of stdout, stderr."""

    def call(*arguments, stdin=b""):
        piped = io.TextIOWrapper(io.BytesIO(stdin)) if isinstance(stdin, bytes) else stdin
        monkeypatch.setattr(sys, "stdin", piped)
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code, [json.loads(line) for line in out.splitlines()], err

    return call


def error_types(lines):
    return [line.get("error", {}).get("type") for line in lines]


# --- the lines ----------------------------------------------------------------


def test_a_line_of_extract(reader, run):
    code, (line,), err = run("extract", "m", "a.txt", "--schema", "schema.json")
    assert (code, err) == (0, "")
    assert list(line) == ["value", "complete", "fields", "timing"]
    assert line["value"] == {"shop": "Nook", "total": 12}
    assert line["complete"] is True
    assert line["fields"]["$.shop"]["span"] == [6, 10]
    assert line["fields"]["$.shop"]["confidence"] > 0.9
    assert {"prefill_ms", "decode_ms", "total_ms", "prompt_tokens"} <= set(line["timing"])


def test_a_line_of_classify(sorter, run):
    code, (line,), err = run("classify", "m", "--labels", LABELS, stdin=b"a refund, please")
    assert (code, err) == (0, "")
    assert list(line) == ["label", "confidence", "probabilities", "timing"]
    assert line["label"] == "refund"
    assert set(line["probabilities"]) == set(LABELS.split(","))
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_specialist_of_another_task_reads_a_schema_only_with_untrained(work, run, monkeypatch):
    task = {"kind": "classify", "labels": LABELS.split(",")}
    card = Card.from_dict({"name": "router", "licence": "mit", "task": task}, where="test")
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(ANSWER, sharpness=40.0), card))
    asked = ("extract", "m", "a.txt", "--schema", "schema.json")
    code, lines, err = run(*asked)
    assert (code, lines) == (7, [])
    assert "router was trained to classify" in err
    assert "`edgeslm classify`" in err
    assert "--untrained" in err
    code, (line,), _ = run(*asked, "--untrained")
    assert (code, line["value"]) == (0, {"shop": "Nook", "total": 12})


@pytest.mark.parametrize(("command", "option"), [("extract", "--schema"), ("classify", "--labels")])
def test_untrained_names_the_option_that_it_needs(reader, run, command, option):
    code, lines, err = run(command, "m", "a.txt", "--untrained")
    assert (code, lines) == (2, [])
    assert "--untrained needs" in err
    assert option in err


def test_the_help_of_extract_says_what_is_grounded_without_a_card(capsys):
    with pytest.raises(SystemExit):
        main(["extract", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "else dates, times and numbers where the text has some" in said


def test_order_is_kept_and_errors_stand_in_their_place(sorter, run, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 2000)
    bad = {
        b"{not json}\n": "not JSON: .* at column 2",
        b"[1]\n": 'no "text"',
        b'{"text": 5}\n': 'no "text"',
        b'{"text": "\xff"}\n': "not UTF-8 at byte 10",
        b'{"text": "  "}\n': "empty",
        b'{"text": "\\ud800"}\n': "lone surrogate",
        b"[" * 1999 + b"\n": "not JSON",
        b'{"n": ' + b"1" * 1900 + b"}\n": 'no "text"',
        b'{"text": "' + b"x" * 5000 + b'"}\n': "more than 2,000 bytes",
        b"\0\n": "not JSON",
    }
    stdin = b"".join(jsonl("refund") + line for line in bad) + b'{"text": "shipping"}'
    code, lines, err = run("classify", "m", "--jsonl", "--labels", LABELS, stdin=stdin)
    assert code == 4
    assert [line["label"] for line in lines[0:-1:2]] == ["refund"] * len(bad)
    assert lines[-1]["label"] == "shipping"
    for number, (line, pattern) in enumerate(zip(lines[1::2], bad.values(), strict=True), 1):
        assert line["error"]["type"] == "InputError"
        assert line["error"]["message"].startswith(f"stdin, line {2 * number}: ")
        assert re.search(pattern, line["error"]["message"]), line
    assert f"{len(bad)} of {2 * len(bad) + 1} inputs could not be answered; the first" in err
    assert "stdin, line 2: not JSON" in err


def test_lines_come_from_several_files_and_a_byte_order_mark_is_no_text(sorter, run):
    Path("1.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl("refund", "billing"))
    Path("2.jsonl").write_bytes(jsonl("shipping"))
    code, lines, _ = run(
        "classify", "m", "1.jsonl", "-", "2.jsonl", "--jsonl", "--labels", LABELS,
        stdin=jsonl("billing"),
    )  # fmt: skip
    assert code == 0
    assert [line["label"] for line in lines] == ["refund", "billing", "billing", "shipping"]


def test_documents_are_answered_by_what_they_say(reader, run):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
    Path("bill").write_bytes(pdf(PdfPage([("at Nook", 50, 700), ("12", 300, 700)])))
    Path("mail.eml").write_bytes(b"Subject: s\nMIME-Version: 1.0\n\nat Nook  12")
    Path("broken.pdf").write_bytes(b"%PDF-1.7")
    names = ("bill", "mail.eml", "broken.pdf")
    code, (bill, mail, broken), _ = run("extract", "m", *names, "--schema", "schema.json")
    assert code == 4
    assert bill["fields"]["$.shop"]["span"] == [3, 7]
    assert mail["fields"]["$.shop"]["span"] == [14, 18]
    assert broken["error"]["type"] == "DocumentError"
    assert broken["error"]["message"].startswith("broken.pdf: is damaged: ")
    assert broken["error"]["reason"] == "damaged"


def test_a_document_on_the_command_line_has_boxes(reader, run):
    pytest.importorskip("pypdfium2", reason="the extra documents brings pypdfium2")
    Path("bill").write_bytes(pdf(PdfPage([("at Nook", 50, 700), ("12", 300, 700)])))
    code, lines, _ = run("extract", "m", "bill", "a.txt", "--schema", "schema.json")
    ((box,), (total,)) = (lines[0]["fields"][name]["boxes"] for name in ("$.shop", "$.total"))
    assert (code, box["page"], total["page"]) == (0, 1, 1)
    assert 50 < box["box"][0] < box["box"][2] < 300 <= round(total["box"][0])
    assert "boxes" not in lines[1]["fields"]["$.shop"]


def test_files_that_are_no_text_are_errors_in_their_place(reader, run, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_BYTES", 5000)
    Path("bom.txt").write_bytes(b"\xef\xbb\xbfat Nook 12")
    Path("empty.txt").write_bytes(b"")
    Path("binary").write_bytes(b"\x7fELF\0\0\0")
    Path("latin.txt").write_bytes("Café".encode("latin-1"))
    Path("zeros.txt").write_text("Nook", encoding="utf-16-le")
    Path("huge.txt").write_bytes(b"x" * 5001)
    Path("folder").mkdir()
    names = ["bom.txt", "empty.txt", "binary", "latin.txt", "zeros.txt", "huge.txt", "folder"]
    names += ["gone.txt", "a.txt"]
    code, lines, err = run("extract", "m", *names, "--schema", "schema.json")
    assert code == 4
    assert error_types(lines) == [None, *["InputError"] * 7, None]
    assert lines[0]["fields"]["$.shop"]["span"] == [3, 7]
    for name, line in zip(names[1:-1], lines[1:-1], strict=True):
        assert line["error"]["message"].startswith(f"{name}: ")
    assert "the first, empty.txt: the input is empty" in err


@given(st.binary(max_size=300), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_one_input_for_each_line_that_is_not_blank(data, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "MAX_BYTES", limit)
        items = list(inputs.read_lines(io.BytesIO(data), "x"))

    *whole, last = data.split(b"\n")
    lines = [*(line + b"\n" for line in whole), last]
    # a line that is too long is said to be, whatever is in it
    wanted = [line for line in lines if len(line) > limit or line.strip(b" \t\r\n\xef\xbb\xbf")]
    assert len(items) == len(wanted)
    assert all(isinstance(item.text, str | InputError) for item in items)


def test_the_answers_to_100_000_lines_take_constant_memory(work, run, monkeypatch):
    timing = Timing(0, 0, 0, 0, 0, 0, 0)

    def answer(text, **_):
        return Classification(text, 1.0, {text: 1.0}, timing)

    process, memory = psutil.Process(), []

    class Lines(io.RawIOBase):
        """100,000 lines that are never in memory together; measures memory on the way."""

        def __init__(self):
            self.lines = (b'{"text": "%d %s"}\n' % (i, b"x" * 500) for i in range(100_000))
            self.read_so_far = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            data = next(self.lines, b"")
            buffer[: len(data)] = data
            if self.read_so_far % 10_000 == 1_000:
                memory.append(process.memory_info().rss)
            self.read_so_far += 1
            return len(data)

    use(monkeypatch, lambda: stub(answer))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Lines())))
    with Path("out").open("w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as caught:
            main(["classify", "m", "--jsonl"])
    assert caught.value.code == 0
    with Path("out").open(encoding="utf-8") as lines:
        numbers = [int(json.loads(line)["label"].split()[0]) for line in lines]
    assert numbers == list(range(100_000))
    assert len(memory) == 10
    assert max(memory) - memory[0] < 10_000_000  # the texts alone are 50 MB


# --- options ------------------------------------------------------------------


def test_a_budget_closes_or_raises(reader, run):
    arguments = ("extract", "m", "a.txt", "--schema", "schema.json", "--max-tokens", "3")
    code, (line,), _ = run(*arguments)
    assert code == 0
    assert line["complete"] is False
    assert line["fields"]["$.total"]["confidence"] == 0
    code, (line,), _ = run(*arguments, "--on-budget", "raise")
    assert code == 4
    assert line["error"]["type"] == "OutputTruncatedError"
    assert line["error"]["prefix"] == '{"s'


def test_a_deadline_is_an_error_in_its_place(sorter, run):
    stdin = jsonl("refund " * 500, "refund")
    arguments = ("classify", "m", "--jsonl", "--labels", LABELS)
    code, lines, _ = run(*arguments, "--deadline-ms", "1", stdin=stdin)
    assert (code, error_types(lines)[0]) == (4, "DeadlineError")
    code, lines, _ = run(*arguments, "--deadline-ms", "600000", stdin=stdin)
    assert (code, error_types(lines)) == (0, [None, None])


def test_a_text_that_is_too_long_is_refused_or_loses_its_middle(work, run, monkeypatch):
    # a context of 32 grows to 512 at most
    use(monkeypatch, lambda: GgufModel(ScriptedEngine("refund", context_size=32)))
    stdin = jsonl("start " + "x" * 600 + " end", "short")
    arguments = ("classify", "m", "--jsonl", "--labels", "refund,other")
    code, lines, _ = run(*arguments, stdin=stdin)
    assert (code, error_types(lines)) == (4, ["InputTooLongError", None])
    assert lines[0]["error"]["tokens"] > lines[0]["error"]["limit"] == 512
    code, lines, _ = run(*arguments, "--truncate", "middle", stdin=stdin)
    assert (code, [line["label"] for line in lines]) == (0, ["refund", "refund"])


def test_five_megabytes_are_an_error_in_their_place(work, tiny_model, run):
    Path("large.txt").write_text("at Nook I paid 12\n" * 280_000)
    code, lines, _ = run("classify", tiny_model, "large.txt", "a.txt", "--labels", "yes,no")
    assert (code, error_types(lines)) == (4, ["InputTooLongError", None])


def test_labels_come_from_a_file(sorter, run):
    Path("labels.txt").write_bytes(b"\xef\xbb\xbfbilling\r\n\r\n refund \nshipping\n")
    code, (line,), _ = run("classify", "m", "--labels", "@labels.txt", stdin=b"shipping")
    assert code == 0
    assert set(line["probabilities"]) == set(LABELS.split(","))


def test_loading_options_reach_the_loader(sorter, work, run, monkeypatch):
    module = importlib.import_module("edgeslm.models.load")
    model, asked = module.load(), {}
    monkeypatch.setattr(module, "load", lambda name, **more: asked.update(more, name=name) or model)
    run("classify", "m", "--labels", LABELS, "--threads", "3", "--gpu-layers", "0", stdin=b"refund")
    assert asked == {"name": "m", "threads": 3, "gpu_layers": 0}


def test_a_card_needs_neither_schema_nor_labels(work, run):
    reading = {"kind": "extract", "json_schema": SCHEMA, "max_tokens": 30}
    sorting = {"kind": "classify", "labels": ["yes", "no"]}
    for command, task, place, names in (
        ("extract", reading, "value", {"shop", "total"}),
        ("classify", sorting, "probabilities", {"yes", "no"}),
    ):
        card = Card.from_dict({"name": "c", "licence": "mit", "task": task}, where="card")
        write_tiny_gguf(Path("card.gguf"), card=card)
        code, (line,), _ = run(command, "card.gguf", "a.txt")
        assert code == 0
        assert set(line[place]) == names


def test_an_adapter_answers_in_place_of_its_base(work, tiny_model, run):
    for command, task, place, names in (
        ("extract", {"kind": "extract", "json_schema": SCHEMA}, "value", {"shop", "total"}),
        ("classify", {"kind": "classify", "labels": ["yes", "no"]}, "probabilities", {"yes", "no"}),
    ):
        card = Card.from_dict({"name": "c", "licence": "mit", "task": task}, where="card")
        write_tiny_adapter(Path("adapter"), tiny_model, **{CARD_KEY: card.to_json()})
        arguments = (command, tiny_model, "a.txt", "--adapter")
        code, lines, err = run(*arguments, "adapter")
        assert (code, lines) == (6, [])
        assert "--unproven" in err
        code, (line,), _ = run(*arguments, "adapter", "--unproven")
        assert (code, set(line[place])) == (0, names)
        for exit_code, bad in ((12, "none.gguf"), (5, "a.txt"), (5, tiny_model)):
            code, lines, err = run(*arguments, bad)
            assert (code, lines) == (exit_code, [])
            assert str(bad) in err


def test_texts_are_given_as_options(sorter, run):
    code, lines, _ = run(
        "classify", "m", "--labels", LABELS, "--text", "a refund", "--text", "billing"
    )
    assert [line.get("label") for line in lines] == ["refund", "billing"]
    code, lines, err = run("classify", "m", "--labels", LABELS, "--text", "")
    assert (code, error_types(lines)) == (4, ["InputError"])
    assert "text: the input is empty" in err


def test_an_answer_carries_the_id_of_its_row_and_what_is_kept(sorter, run):
    Path("t.csv").write_text("id,body,who\n1,refund,Zoë\n2,,Bo\n")
    arguments = ("classify", "m", "--labels", LABELS, "--column", "body", "--keep", "who")
    code, lines, _ = run(*arguments, "t.csv")
    assert code == 4
    assert list(lines[0])[:3] == ["id", "who", "label"]
    assert (lines[0]["id"], lines[0]["who"], lines[0]["label"]) == ("1", "Zoë", "refund")
    assert (lines[1]["id"], lines[1]["who"]) == ("2", "Bo")
    assert lines[1]["error"]["message"].startswith("t.csv, line 3: ")
    Path("l.jsonl").write_text('{"id": 9, "body": "refund", "who": null}\n')
    code, (line,), _ = run(*arguments, "l.jsonl")
    assert (code, line["id"], line["who"], line["label"]) == (0, 9, None, "refund")


def test_only_the_likeliest_labels(sorter, reader, run, monkeypatch):
    schema = {"type": "object", "properties": {"probabilities": {"enum": ["a", "b", "c"]}}}
    schema["required"] = ["probabilities"]
    Path("enum.json").write_text(json.dumps(schema))
    script = '{"probabilities":"b"}'
    use(monkeypatch, lambda: GgufModel(ScriptedEngine(script, sharpness=2.0)))
    code, (line,), _ = run("extract", "m", "a.txt", "--schema", "enum.json", "--top", "2")
    assert (code, line["value"]) == (0, {"probabilities": line["value"]["probabilities"]})
    assert len(line["fields"]["$.probabilities"]["probabilities"]) == 2
    use(monkeypatch, lambda: GgufModel(ScriptedEngine("refund")))
    code, (line,), _ = run("classify", "m", "--labels", LABELS, "--text", "refund", "--top", "1")
    assert (code, list(line["probabilities"])) == (0, [line["label"]])


@pytest.mark.parametrize(
    ("answer", "top", "shown"),
    [
        ({"label": "oos", "probabilities": {"a": 0.5, "b": 0.3, "oos": 0.2}}, 1, "oos"),
        ({"label": "oos", "probabilities": {"a": 0.5, "b": 0.3, "oos": 0.2}}, 2, "a oos"),
        ({"label": "a", "probabilities": {"a": 0.5, "b": 0.3, "oos": 0.2}}, 2, "a b"),
        ({"labels": ["a", "b"], "probabilities": {"a": 0.9, "b": 0.8, "c": 0.1}}, 1, "a b"),
        ({"labels": [], "probabilities": {"a": 0.4, "b": 0.3, "c": 0.1}}, 1, "a"),
    ],
)
def test_what_is_said_is_always_among_the_labels_that_are_shown(answer, top, shown):
    assert list(_likeliest(answer, top)["probabilities"]) == shown.split()
    heads = _likeliest({"heads": {"h": answer}}, top)["heads"]
    assert list(heads["h"]["probabilities"]) == shown.split()


USES = [
    ("t.csv is a table: say which column has the texts with --column NAME; its columns: id, body",
     ["t.csv"]),
    ("--keep label: an answer has a key of that name", ["l.jsonl", "--keep", "label"]),
    ("--keep is for rows", ["a.txt", "--keep", "who"]),
]  # fmt: skip


def test_a_column_that_no_row_has_is_one_error_before_the_model_is_loaded(work, run):
    Path("l.jsonl").write_text('{"id": 1, "body": "hi"}\n' * 3)
    code, lines, err = run("classify", "no-such-model", "l.jsonl")
    assert (code, lines) == (4, [])
    assert 'l.jsonl: no line has the key "text"; the first has: id, body' in err
    code, lines, err = run("classify", "no-such-model", "l.jsonl", "--column", "body")
    assert "no-such-model" in err


@pytest.mark.parametrize("text", ["\u00ad", "\u200b\u200e", " \ufeff\n"])
def test_a_text_that_shows_nothing_is_empty(sorter, run, text):
    code, lines, err = run("classify", "m", "--labels", LABELS, "--text", text)
    assert (code, error_types(lines)) == (4, ["InputError"])
    assert "text: the input is empty: it has only white space and invisible characters" in err


@pytest.mark.parametrize(("says", "arguments"), USES)
def test_what_cannot_be_read_so_is_said_before_the_model_is_loaded(work, run, says, arguments):
    Path("t.csv").write_text("id,body\n1,hi\n")
    code, lines, err = run("classify", "no-such-model", *arguments)
    assert (code, lines) == (2, [])
    assert says in " ".join(err.split())


@pytest.mark.parametrize(
    ("task", "command", "does", "instead"),
    [
        (
            {"kind": "extract", "json_schema": SCHEMA},
            "classify",
            "extract JSON with the fields shop, total",
            "extract",
        ),
        (
            {"kind": "classify", "labels": ["yes", "no"]},
            "extract",
            "classify into 2 labels: yes, no",
            "classify",
        ),
        (
            {"kind": "classify", "labels": ["yes", "no"]},
            "tag",
            "classify into 2 labels: yes, no",
            "classify",
        ),
    ],
)
def test_a_specialist_of_another_task_says_what_it_does(work, run, task, command, does, instead):
    card = Card.from_dict({"name": "c", "licence": "mit", "task": task}, where="card")
    write_tiny_gguf(Path("card.gguf"), card=card)
    code, lines, err = run(command, "card.gguf", "a.txt")
    assert (code, lines) == (6, [])
    assert f"card.gguf does not {command}; its card says: {does}" in err
    assert f"Use `edgeslm {instead} card.gguf`" in err


@pytest.mark.parametrize("command", ["show", "classify", "extract", "eval", "doctor", "bench"])
def test_a_file_that_is_no_model_is_named_for_what_it_is(work, run, command):
    Path("scan.pdf").write_bytes(b"%PDF-1.7")
    Path("notes").write_text("words")
    Path("gold.jsonl").write_text('{"input": "x", "answer": "y"}\n')
    more = {"classify": ["a.txt"], "extract": ["a.txt"], "eval": ["gold.jsonl"]}.get(command, [])
    for file, kind in (("a.txt", "a text file"), ("./scan.pdf", "a PDF document"),
                       ("notes", "a text file")):  # fmt: skip
        code, lines, err = run(command, file, *more)
        assert (code, lines) == (5, []), file
        assert f"{Path(file)} is {kind}, not a model" in err


# --- errors before the first input ----------------------------------------------


REFUSED = [
    (12, "no model", ["extract", "no-such-model", "a.txt"]),
    (5, "damaged.gguf", ["classify", "damaged.gguf", "a.txt", "--labels", LABELS]),
    (4, "gone.json", ["extract", "tiny.gguf", "a.txt", "--schema", "gone.json"]),
    (7, "line 1, column 2", ["extract", "tiny.gguf", "a.txt", "--schema", "broken.json"]),
    (7, "/properties/x", ["extract", "tiny.gguf", "a.txt", "--schema", "refused.json"]),
    (7, "at least 2", ["classify", "tiny.gguf", "a.txt", "--labels", "one"]),
    (7, "twice", ["classify", "tiny.gguf", "a.txt", "--labels", "a,b,a"]),
    (7, "1 to 200 characters", ["classify", "tiny.gguf", "a.txt", "--labels", "a,,b"]),
    (7, "gone.txt", ["classify", "tiny.gguf", "a.txt", "--labels", "@gone.txt"]),
    (7, "not UTF-8 at byte 0", ["classify", "tiny.gguf", "a.txt", "--labels", "@latin.txt"]),
    (
        7,
        "larger than the 1,048,576",
        ["classify", "tiny.gguf", "a.txt", "--labels", "@large.txt"],
    ),
    (6, "no card", ["extract", "tiny.gguf", "a.txt"]),
    (6, "no card", ["classify", "tiny.gguf", "a.txt"]),
    (2, "--max-tokens", ["extract", "tiny.gguf", "a.txt", "--max-tokens", "0"]),
    (2, "--deadline-ms", ["extract", "tiny.gguf", "a.txt", "--deadline-ms", "nan"]),
    (2, "--threads", ["extract", "tiny.gguf", "a.txt", "--threads", "0"]),
    (2, "NAME", ["classify"]),
]


@pytest.mark.parametrize(("exit_code", "words", "arguments"), REFUSED)
def test_what_cannot_begin_is_one_message_and_its_exit_code(
    exit_code, words, arguments, work, tiny_model, run
):
    shutil.copy(tiny_model, "tiny.gguf")
    Path("damaged.gguf").write_bytes(tiny_model.read_bytes()[:1000])
    Path("broken.json").write_text("{broken")
    Path("refused.json").write_text('{"type": "object", "properties": {"x": {"$ref": "#/no"}}}')
    Path("latin.txt").write_bytes("éa\nb".encode("latin-1"))
    Path("large.txt").write_bytes(b"label\n" * 200_000)
    code, lines, err = run(*arguments)
    assert (code, lines) == (exit_code, [])
    assert words in err


def test_nothing_to_read_is_a_usage_error_with_an_example(reader, run):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    code, lines, err = run("extract", "m", stdin=Terminal())
    assert (code, lines) == (2, [])
    assert "edgeslm extract m mail.txt" in err


def test_a_failing_engine_ends_the_stream(work, run, monkeypatch):
    def fail(*_, **__):
        raise EngineError("llama.cpp failed with code -3")

    use(monkeypatch, lambda: stub(fail))
    code, lines, err = run("classify", "m", "--jsonl", stdin=jsonl("a", "b"))
    assert (code, lines) == (10, [])
    assert "code -3" in err


# --- stdout and stderr ----------------------------------------------------------


def test_json_is_forced_on_a_terminal(sorter, run, monkeypatch):
    monkeypatch.setattr("edgeslm.cli.output.sys.stdout.isatty", lambda: True)
    code, (line,), _ = run("classify", "m", "--json", "--labels", LABELS, stdin=b"a refund")
    assert (code, line["label"]) == (0, "refund")


def test_a_bar_on_stderr_leaves_stdout_to_the_lines(sorter, run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    Path("in.jsonl").write_bytes(jsonl("refund") + b"no\n")
    code, lines, err = run("classify", "m", "--jsonl", "in.jsonl", "--labels", LABELS)
    assert (code, error_types(lines)) == (4, [None, "InputError"])
    assert "1 answered, 1 failed" in err


def test_without_a_terminal_stderr_is_silent(sorter, run):
    assert run("classify", "m", "--jsonl", "--labels", LABELS, stdin=jsonl("refund"))[2] == ""
