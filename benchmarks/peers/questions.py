"""What is compared with peers: a loaded model with one schema or label set, and the texts."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jsonschema_rs

from benchmarks.data.invoices import make_invoice
from benchmarks.data.receipts import ROOT, data_file, read_receipts
from benchmarks.data.schemas import Invoice, Receipt
from benchmarks.peers.llama import without_spaces
from edgeslm import Extraction, Extractor
from edgeslm.decoding.prompt import compile_prompt
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.formats.card import ExtractTask, LabelSpec, PromptSpec
from edgeslm.models.gguf import GgufModel
from edgeslm.results import Timing
from edgeslm.schema.schema import compile_schema
from edgeslm.tasks.classification import default_prompt as classify_prompt
from edgeslm.tasks.extraction.prompt import default_prompt

#: the tasks that are compared
RECEIPTS = "Receipts: long text, short answer"
INVOICES = "Invoices: long answer"
RECEIPT_TOKENS = 256
INVOICE_TOKENS = 1024
#: line items of the invoices, as many invoices of each
ITEMS = (6, 8, 10)


@dataclass(frozen=True, slots=True)
class Own:
    """An answer of edgeslm, and what it took."""

    text: str
    timing: Timing


class Question(ABC):
    """A prompt on a loaded model, and the form of its answers: all that a peer needs.

    ``form`` is that form as JSON: a schema, or labels.
    """

    form: dict[str, Any]

    def __init__(self, engine: LlamaEngine, prompt: PromptSpec, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._engine = engine
        self._prompt = compile_prompt(prompt, engine)

    @abstractmethod
    def own(self, text: str, max_tokens: int) -> Own:
        """edgeslm's answer with its defaults."""

    @abstractmethod
    def valid(self, answer: str) -> bool:
        """Whether an answer has the form."""

    @property
    @abstractmethod
    def grammar(self) -> str:
        """The form as GBNF, with no spaces in JSON, as edgeslm writes it."""

    @property
    def wanted(self) -> dict[str, Any]:
        """What a peer's process is told, see worker.PeerResult.prepare."""
        return {**self.form, "grammar": self.grammar, "prefix": self.prefix}

    @property
    def prefix(self) -> list[int]:
        """The tokens in front of every text."""
        return list(self._prompt.prefix)

    def tokens(self, text: str) -> list[int]:
        """The whole prompt, token for token what edgeslm evaluates."""
        return [*self._prompt.prefix, *self._engine.tokenize(text), *self._prompt.suffix]

    def count(self, answer: str) -> int:
        """Tokens of an answer's text."""
        return len(self._engine.tokenize(answer))

    def rendered(self, text: str) -> str:
        """The whole prompt as text, control tokens by their names, for peers that take no ids."""
        vocab = self._engine.vocab
        pieces = (
            vocab.control[token].encode() if token in vocab.control else vocab.pieces[token]
            for token in self.tokens(text)
        )
        return b"".join(pieces).decode()


class SchemaQuestion(Question):
    """One schema on one loaded model.

    Args:
        schema: its objects are closed for all: libraries differ in what an open one allows.
        prompt: None takes edgeslm's own prompt for a model that was not trained for this.
    """

    def __init__(
        self,
        engine: LlamaEngine,
        schema: dict[str, Any],
        max_tokens: int,
        prompt: PromptSpec | None = None,
    ) -> None:
        schema = closed(schema)
        spec = prompt or default_prompt(schema)
        super().__init__(engine, spec, max_tokens)
        self.extractor: Extractor[Any] = GgufModel(engine).extractor(
            schema, prompt=spec, grounded=False
        )
        self.schema, self.form = schema, {"schema": schema}
        self._validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    def extract(self, text: str, *, exact: bool = False) -> Extraction[Any]:
        return self.extractor(text, max_tokens=self.max_tokens, drafts=not exact)

    def own(self, text: str, max_tokens: int) -> Own:
        result = self.extractor(text, max_tokens=max_tokens)
        return Own(result.json, result.timing)

    @cached_property
    def grammar(self) -> str:
        """The schema as llama.cpp's converter writes it, with no spaces, as edgeslm writes."""
        from llama_cpp.llama_grammar import json_schema_to_gbnf

        return without_spaces(json_schema_to_gbnf(json.dumps(self.schema)))

    def valid(self, answer: str) -> bool:
        """Whether an answer is JSON that keeps the schema, by a validator edgeslm does not use."""
        try:
            return self._validator.is_valid(json.loads(answer))
        except ValueError:
            return False


class LabelQuestion(Question):
    """One set of labels on one loaded model, with edgeslm's own prompt for an untrained one."""

    def __init__(self, engine: LlamaEngine, labels: Sequence[str]) -> None:
        specs = [LabelSpec(name=label) for label in labels]
        longest = max(len(engine.tokenize(label)) for label in labels)
        super().__init__(engine, classify_prompt(specs), longest + 1)
        self.labels, self.form = tuple(labels), {"labels": list(labels)}
        self._classifier = GgufModel(engine).classifier(self.labels)

    def own(self, text: str, max_tokens: int) -> Own:
        result = self._classifier(text)
        return Own(result.label, result.timing)

    @property
    def grammar(self) -> str:
        return "root ::= " + " | ".join(map(json.dumps, self.labels))

    def valid(self, answer: str) -> bool:
        return answer in self.labels


def closed(schema: Any) -> Any:
    """The schema with ``additionalProperties: false`` in each object that names properties."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    rule = {key: closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        rule.setdefault("additionalProperties", False)
    return rule


@dataclass(frozen=True, slots=True)
class Task:
    """Texts, each with the question that answers it. ``inputs`` says in words which they are."""

    name: str
    inputs: str
    pairs: Sequence[tuple[SchemaQuestion, str]]


def receipt_question(engine: LlamaEngine) -> SchemaQuestion:
    """Receipts as the model's card has them, or as the base model is asked for them.

    A card's grounding is left out: no peer has it.
    """
    card = engine.info.card
    if card is not None and isinstance(card.task, ExtractTask):
        return SchemaQuestion(engine, card.task.json_schema, card.task.max_tokens, card.prompt)
    return SchemaQuestion(engine, compile_schema(Receipt).source, RECEIPT_TOKENS)


def receipts(engine: LlamaEngine, count: int) -> Task:
    """Real receipts where there are some, else those of the examples: long in, short out."""
    texts, inputs = receipt_texts(count)
    question = receipt_question(engine)
    return Task(RECEIPTS, inputs, [(question, text) for text in texts])


def receipt_texts(count: int) -> tuple[list[str], str]:
    """Texts of receipts, and what they are in words."""
    data = data_file()
    if data is not None:
        texts = [receipt.text for receipt in read_receipts(data)[:count]]
        return texts, f"{len(texts)} scanned receipts"
    examples = sorted((ROOT / "examples").glob("receipt-*.txt"))[:count]
    return [path.read_text(encoding="utf-8") for path in examples], "examples/receipt-*.txt"


def invoices(engine: LlamaEngine, count: int) -> Task:
    """Made-up invoices, whose answers are long."""
    questions = {
        n: SchemaQuestion(engine, invoice_schema(n), INVOICE_TOKENS) for n in ITEMS[:count]
    }
    sizes = invoice_sizes(count)
    pairs = [(questions[n], make_invoice(i, n).text) for i, n in enumerate(sizes)]
    return Task(INVOICES, invoices_in_words(count), pairs)


def invoice_sizes(count: int) -> list[int]:
    """Line items of the made invoices, one size after the other, so that each peer
    compiles each schema once."""
    return sorted(ITEMS[i % len(ITEMS)] for i in range(count))


def invoices_in_words(count: int) -> str:
    numbers = ", ".join(str(n) for n in ITEMS[:count])
    return f"{count} made invoices of {numbers} line items"


def invoice_schema(items: int) -> dict[str, Any]:
    """An invoice with so many positions, no more and no less, so that all write as much."""
    schema = copy.deepcopy(compile_schema(Invoice).source)
    schema["properties"]["items"] |= {"minItems": items, "maxItems": items}
    return schema


# --- nothing to copy --------------------------------------------------------------

_QUALITIES = ("clarity", "length", "tone", "order", "detail", "mood", "pace", "style")
_GRADES = ("poor", "fair", "good", "great", "superb")
_PARTS = ("opening", "middle", "turn", "ending", "moral", "title", "motto", "reply")


def nothing_copied(engine: LlamaEngine, count: int) -> list[Task]:
    """Answers whose words do not stand in the text: grades and numbers, and free writing."""
    grades = {name: {"enum": list(_GRADES)} for name in _QUALITIES}
    numbers = {f"{name}_percent": {"type": "integer", "minimum": 0, "maximum": 100}
               for name in _QUALITIES}  # fmt: skip
    free = {name: {"type": "string", "maxLength": 60} for name in _PARTS}
    texts, inputs = receipt_texts(count)
    asked: dict[str, dict[str, Any]] = {
        "grades and numbers": {**grades, **numbers},
        "free writing": dict(free),
    }
    story = PromptSpec(user="Write a story about the sea, as JSON.\n\n{{ text }}\n\nJSON:")
    tasks = []
    for name, properties in asked.items():
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        question = SchemaQuestion(
            engine, schema, INVOICE_TOKENS, story if name == "free writing" else None
        )
        tasks.append(Task(name, inputs, [(question, text) for text in texts]))
    return tasks
