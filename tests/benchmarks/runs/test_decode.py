"""Decoding beside peers: turns, ratios, agreement, failures of a peer, the section of the page."""

import json
import subprocess
import sys
from contextlib import closing
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.data.invoices import make_invoice
from benchmarks.peers import environments, questions, worker
from benchmarks.peers.counting import Decodes
from benchmarks.peers.environments import PeerError, PeerSpec
from benchmarks.peers.questions import SchemaQuestion, Task, closed, invoice_schema
from benchmarks.peers.remote import Remote
from benchmarks.report.results.extraction import OWN
from benchmarks.runs import drafts
from benchmarks.runs import extract as bench_run
from benchmarks.runs.known_answers import KnownAnswerEngine, known_invoices
from benchmarks.runs.turns import OTHER_TEXT, Reply, agreement, compare
from edgeslm.errors import EngineError

# --- inputs ---------------------------------------------------------------------


@pytest.mark.parametrize("items", questions.ITEMS)
def test_invoices_add_up_and_differ(items):
    texts = [make_invoice(number, items).text for number in range(20)]
    assert len(set(texts)) == 20
    assert texts == [make_invoice(number, items).text for number in range(20)]
    for text in texts:
        table = text.partition("\nPos ")[2].partition("\n\n")[0]
        rows = [line.split() for line in table.splitlines()[1:]]
        amounts = [Decimal(row[-1]) for row in rows]
        assert len(rows) == items
        assert all(Decimal(r[-3]) * Decimal(r[-2]) == Decimal(r[-1]) for r in rows)
        net, tax, total = (Decimal(line.split()[-1]) for line in text.splitlines()[-3:])
        assert sum(amounts) == net
        assert net + tax == total


def test_every_object_of_a_schema_is_closed():
    schema = closed(invoice_schema(8))
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["LineItem"]["additionalProperties"] is False
    assert schema["properties"]["items"]["minItems"] == 8
    assert "additionalProperties" not in schema["properties"]["number"]
    assert closed({"type": "object", "properties": {}, "additionalProperties": True}) == {
        "type": "object",
        "properties": {},
        "additionalProperties": True,
    }


# --- agreement --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ('{"a":1,"b":"x"}', '{"b":"x", "a":1.0}', 1.0),
        ('{"a":"9.50"}', '{"a":9.5}', 1.0),
        ('{"a":"x  y"}', '{"a":"x y"}', 1.0),
        ('{"a":null}', '{"a":"null"}', 0.0),
        ('{"a":true}', '{"a":1}', 0.0),
        ('{"a":1,"b":2}', '{"a":1}', 0.5),
        ('{"a":[1,2]}', '{"a":[2,1]}', 0.0),
        ('{"a":1', '{"a":1}', 0.0),
        ("{}", "{}", 1.0),
    ],
)
def test_agreement_of_leaves(one, other, expected):
    assert agreement([(one, other)]) == agreement([(other, one)]) == expected


_TEXT = st.text(max_size=8)


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | _TEXT,
        lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(_TEXT, leaf, max_size=3),
        max_leaves=8,
    )
)
def test_an_answer_agrees_with_itself(value):
    assert agreement([(json.dumps(value), json.dumps(value, indent=2))]) == 1.0


# --- taking turns -----------------------------------------------------------------


class Scripted:
    """A peer that takes ``ms`` for every answer and keeps what it was asked."""

    about = "scripted"

    def __init__(self, name, ms, asked, *, text="{}", same=True, fails_at=None):
        self.name, self._ms, self._asked = name, ms, asked
        self._text, self._same, self._fails_at = text, same, fails_at

    def prepare(self, question):
        pass

    def answer(self, question, text, max_tokens):
        self._asked.append((self.name, text, max_tokens))
        if text == self._fails_at:
            raise PeerError(f"{self.name} failed")
        return Reply(self._text, self._ms, 5, self._same)


class AnyObject:
    """A question whose answers are valid where they are ``{}``."""

    max_tokens = 99

    def count(self, answer):
        return len(answer)

    def valid(self, answer):
        return answer == "{}"


def task(*texts):
    return Task("a task", "texts", [(AnyObject(), text) for text in texts])


def test_sides_take_turns_and_hold_nothing_of_the_text():
    asked, ticks = [], []
    ready = [Scripted(OWN, 2.0, asked), Scripted("peer", 6.0, asked, text='{"a":1}')]
    comparison = compare(task("a", "b"), ready, {"absent": "why"}, None, lambda: ticks.append(1))
    timed = [(name, text) for name, text, tokens in asked if tokens == 99]
    assert timed == [(OWN, "a"), ("peer", "a"), ("peer", "b"), (OWN, "b")]
    assert asked[0::2] == [(name, OTHER_TEXT, 1) for name, _ in timed]
    own, peer = comparison.peers
    assert (own.ratio, own.valid, own.agreement) == (None, 2, 1.0)
    assert (peer.ratio.value, peer.ratio.n, peer.valid, peer.agreement) == (3.0, 2, 0, 0.0)
    assert (own.ms_per_token, peer.ms_per_token, peer.output_tokens) == (1.0, 6 / 7, 7)
    assert comparison.unavailable == {"absent": "why"}
    assert comparison.prefill is None
    assert len(ticks) == 4


def test_a_peer_that_fails_on_the_way_is_left_out():
    ready = [Scripted(OWN, 2.0, []), Scripted("peer", 6.0, [], fails_at="b")]
    comparison = compare(task("a", "b", "c"), ready, {}, None, lambda: None)
    assert [one.name for one in comparison.peers] == [OWN]
    assert comparison.unavailable == {"peer": "peer failed"}


def test_another_prompt_of_edgeslm_is_no_comparison():
    with pytest.raises(EngineError, match="unfair"):
        compare(task("a"), [Scripted(OWN, 2.0, [], same=False)], {}, None, lambda: None)


class HalfTheTime:
    def evaluate(self, question, text):
        return 1.0


def test_requests_are_set_against_bare_prefill():
    comparison = compare(task("a", "b"), [Scripted(OWN, 2.0, [])], {}, HalfTheTime(), lambda: None)
    assert (comparison.prefill.value, comparison.prefill_ms) == (2.0, 1.0)


# --- on a tiny model --------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 8}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def test_a_prompt_as_text_is_the_prompt_as_tokens(engine):
    question = SchemaQuestion(engine, SCHEMA, 40)
    text = "Café 7 & Söhne"
    rendered = question.rendered(text)
    assert text in rendered
    assert engine.tokenize(rendered, special=True) == question.tokens(text)
    assert question.tokens(text)[: len(question.prefix)] == question.prefix


def test_each_size_of_invoice_is_compiled_once(engine):
    pairs = questions.invoices(engine, 7).pairs
    asked = [question for question, _ in pairs]
    sizes = [question.schema["properties"]["items"]["minItems"] for question in asked]
    assert sizes == sorted(sizes) == [6, 6, 6, 8, 8, 10, 10]
    assert len(set(map(id, asked))) == 3
    assert len({text for _, text in pairs}) == 7


def test_a_model_that_answers_right_says_what_it_is_told(tiny_model):
    with closing(KnownAnswerEngine(tiny_model)) as model:
        task = known_invoices(model, 3)
        assert [s.schema["properties"]["items"]["minItems"] for s, _ in task.pairs] == [6, 8, 10]
        question, text = task.pairs[0]
        for exact in (True, False):
            answer = question.extract(text, exact=exact)
            assert answer.json == make_invoice(0, 6).answer
            assert question.valid(answer.json)


def test_drafts_and_overhead_on_a_tiny_model(engine):
    question = SchemaQuestion(engine, SCHEMA, 40)
    overhead = drafts.overhead(Task("t", "i", [(question, "abc"), (question, "def")]), lambda: None)
    assert overhead.n == overhead.ratio.n == 2
    assert 0 < overhead.decodes <= overhead.decodes_exact
    answer = question.extract("abc")
    assert question.valid(answer.json)
    assert not question.valid(answer.json[:-1])


# --- processes --------------------------------------------------------------------

ECHO = """
import json, sys
print(json.dumps({"about": "echo"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "prepare" in request:
        print(json.dumps({"error": "no"} if request["prepare"] == {} else {}), flush=True)
    elif request["text"] == "end":
        break
    else:
        print(json.dumps({"text": request["text"]}), flush=True)
"""


def test_a_process_answers_refuses_and_ends(tmp_path):
    with Remote("echo", [sys.executable, "-c", ECHO], tmp_path / "log") as remote:
        assert remote.about == "echo"
        remote.prepare({"grammar": ""})
        assert remote.answer([1], "größer", 5) == {"text": "größer"}
        with pytest.raises(PeerError, match="echo: no"):
            remote.prepare({})
        with pytest.raises(PeerError, match="ended without a reply"):
            remote.answer([1], "end", 5)


def test_a_process_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.remote.PREPARE_SECONDS", 0.2)
    with pytest.raises(PeerError, match="longer than 0 seconds"):
        Remote("slow", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")


def test_a_worker_that_cannot_open_its_library_says_so(tmp_path):
    command = [sys.executable, "-m", "benchmarks.peers.worker", "server", "", "x.gguf", "1", "64"]
    with pytest.raises(PeerError, match="xllamacpp"):
        Remote("server", command, tmp_path / "log")


def test_a_worker_goes_on_after_a_failure(capsys):
    class Fragile:
        about = ""

        def prepare(self, wanted):
            raise ValueError("bad schema")

        def answer(self, tokens, text, max_tokens):
            return {"text": text}

    lines = [
        json.dumps({"prepare": {}}),
        json.dumps({"tokens": [], "text": "x", "max_tokens": 1}),
    ]
    worker.serve(Fragile(), lines, sys.stdout)
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert replies == [{"error": "ValueError: bad schema"}, {"text": "x"}]


def test_a_peer_that_cannot_be_installed_says_why(tmp_path, monkeypatch):
    def run(command, **_):
        words = "Collecting it\nERROR: No matching distribution found for it==1\n"
        return subprocess.CompletedProcess(command, 1, stdout=words)

    monkeypatch.setattr(environments.subprocess, "run", run)
    peer = PeerSpec("it", "it", ("it==1",), False, "none")
    with pytest.raises(PeerError, match="it could not be installed: ERROR: No matching"):
        environments.ensure(peer, tmp_path)
    assert not (tmp_path / "it" / "installed").exists()


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    commands = []

    def run(command, peer):
        commands.append(command)
        (tmp_path / "e").mkdir(exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    peer = PeerSpec("p", "e", ("a==1",), True, "m")
    python = environments.ensure(peer, tmp_path)
    assert environments.ensure(peer, tmp_path) == python
    assert len(commands) == 2
    assert commands[1][0] == str(python)
    assert commands[1][-2] == "a==1"
    assert commands[1][-1].startswith("llama-cpp-python==")
    environments.ensure(PeerSpec("p", "e", ("a==2",), True, "m"), tmp_path)
    assert len(commands) == 4


def test_decodes_of_an_answer_are_those_behind_the_prompt(monkeypatch):
    class FakeBatch:
        def __init__(self, tokens, start):
            self.n_tokens, self.token = len(tokens), tokens
            self.pos = list(range(start, start + len(tokens)))

    import llama_cpp
    import llama_cpp.llama_cpp as low

    for module in (llama_cpp, low):
        monkeypatch.setattr(module, "llama_decode", lambda context, batch: 0)
    decodes = Decodes()
    prompt = [5, 6, 7]
    for batch in (FakeBatch([5, 6], 0), FakeBatch([7], 2), FakeBatch([9], 3)):
        assert llama_cpp.llama_decode(None, batch) == 0
    assert low.llama_decode(None, FakeBatch([9, 9], 4)) == 0
    assert decodes.behind(len(prompt)) == 2
    assert decodes.saw(prompt)
    decodes.begin()
    llama_cpp.llama_decode(None, FakeBatch([8], 2))  # the start of the prompt was kept
    assert decodes.behind(len(prompt)) == 0
    assert decodes.saw([5, 6, 8])
    assert not decodes.saw(prompt)


def test_a_peer_gets_the_very_library_of_edgeslm(tmp_path):
    own, lib = tmp_path / "own", tmp_path / "e" / "lib" / "python3" / "llama_cpp" / "lib"
    for folder, files in (
        (own, {"libggml.so": b"fast", "libllama.so": b"same"}),
        (lib, {"libggml.so": b"slow", "libllama.so": b"same", "libold.so": b"x"}),
    ):
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    environments.share_build(sorted(own.iterdir()), tmp_path / "e")
    assert {file.name: file.read_bytes() for file in lib.iterdir()} == {
        "libggml.so": b"fast",
        "libllama.so": b"same",
    }
    before = (lib / "libllama.so").stat().st_ino
    environments.share_build(sorted(own.iterdir()), tmp_path / "e")
    assert (lib / "libllama.so").stat().st_ino == before, "the same files are left alone"


def test_what_runs_write_does_not_make_the_next_run_another_code(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    for name in ("docs/benchmarks.md", "benchmarks/results/decode/a.json", "edgeslm/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    monkeypatch.setattr(bench_run, "ROOT", tmp_path)
    clean = bench_run._commit()
    (tmp_path / "docs/benchmarks.md").write_text("after")
    (tmp_path / "benchmarks/results/decode/a.json").write_text("after")
    assert bench_run._commit() == clean
    (tmp_path / "edgeslm/a.py").write_text("after")
    assert bench_run._commit() == f"{clean}-dirty"
    monkeypatch.setattr(bench_run, "ROOT", tmp_path / "none")
    assert bench_run._commit() == "unknown commit"
