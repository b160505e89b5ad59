"""Extractor: text in, a validated value out, with confidence and evidence for every field."""

from __future__ import annotations

import time
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from edgeslm.card import PromptSpec, Style
from edgeslm.closing import closing_tokens
from edgeslm.decode import Decoded, Decoder, seeded_sampler
from edgeslm.draft import CopyDrafter
from edgeslm.errors import DeadlineError, OutputInvalidError, OutputTruncatedError, SchemaError
from edgeslm.evidence import fields
from edgeslm.grammar import Grammar, Matcher, lark_matcher
from edgeslm.grounding import ground
from edgeslm.prompt import Truncate, check_text, compile_prompt, fit_text
from edgeslm.result import Extraction, Timing
from edgeslm.schema import Schema
from edgeslm.session import WORK, Prefilled, Session

T = TypeVar("T")
OnBudget = Literal["close", "raise"]
OnInvalid = Literal["retry", "raise"]

#: tokens of an answer, if neither the card nor the caller says otherwise
DEFAULT_MAX_TOKENS = 512
#: how often an answer that breaks a rule outside the grammar is taken back in part
MAX_RETRIES = 8


class Extractor(Generic[T]):
    """Reads one kind of value out of texts. Safe to call from many threads.

    Make one with ``model.extractor(schema)``. The prompt's fixed part is evaluated at
    the first call and reused by later ones.
    """

    def __init__(
        self,
        session: Session,
        schema: Schema[T],
        prompt: PromptSpec,
        *,
        style: Style,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        grounded: bool = False,
    ) -> None:
        self.schema = schema
        self._grounded = grounded
        self._session = session
        self._style = style
        self._max_tokens = max_tokens
        with session.request(None):
            self._prompt = compile_prompt(prompt, session.engine)
            self._grammar = Grammar(schema, session.grammar_tokenizer, style)

    def __call__(
        self,
        text: str,
        *,
        max_tokens: int | None = None,
        deadline_ms: float | None = None,
        on_budget: OnBudget = "close",
        on_invalid: OnInvalid = "retry",
        truncate: Truncate = None,
        temperature: float = 0.0,
        seed: int = 0,
        exact: bool = False,
        evidence: bool = True,
        grounded: bool | None = None,
    ) -> Extraction[T]:
        """Extract from one text.

        Args:
            max_tokens: budget of the answer, in tokens of the model.
            deadline_ms: budget of the call, in milliseconds, time in the queue included.
            on_budget: what happens when a budget ends: ``"close"`` completes the JSON
                validly, flags it ``complete=False`` and gives the fields that were cut or
                filled a confidence of 0; ``"raise"`` raises.
            on_invalid: what happens when the value breaks a rule that no grammar holds, such
                as ``uniqueItems`` or a validator of the class: ``"retry"`` goes back to the
                least sure token, takes the next best there and decodes on, within the
                budget and MAX_RETRIES times at most; ``"raise"`` raises at once.
            truncate: ``"middle"`` drops the middle of a text that does not fit.
            temperature: 0 takes the likeliest token; above it, sampling seeded by ``seed``.
            exact: decode without copy drafts. With Q4_0, Q4_1 and Q8_0 on a CPU the answer
                is the same; elsewhere (K- and IQ-quants, GPUs) logits depend a little on
                the shape of a batch, and a near tie may fall otherwise.
            evidence: False saves measuring what the model chose from; ``fields`` is empty.
            grounded: True allows only strings, numbers and dates that stand in the text (and
                null where the schema does), so that nothing is invented; white space and
                the spelling of numbers and dates aside. None: as the extractor was made.

        Raises:
            InputError: empty or not text; or grounded, and the text has nothing for a field
                that may not be null. InputTooLongError: it does not fit the context.
            SchemaError: grounded, and the schema has objects of any names.
            OutputTruncatedError: a budget ended, with ``on_budget="raise"``.
            OutputInvalidError: the value breaks a rule that no grammar can hold.
            CancelledError: ``model.cancel()`` was called meanwhile.
        """
        start = time.perf_counter()
        check_text(text)
        budget = self._max_tokens if max_tokens is None else max(1, max_tokens)
        engine = self._session.engine
        grounded = self._grounded if grounded is None else grounded
        matcher: Matcher | None = None
        prefilled, decoded = Prefilled.nothing(), Decoded()
        try:
            with self._session.request(deadline_ms):
                room = engine.max_context
                tokens = fit_text(engine.tokenize(text), self._prompt, room, budget, truncate)
                matcher = self._matcher(text, grounded)
                prefilled = self._session.prefill(self._prompt, tokens, budget)
                decoder = Decoder(
                    engine,
                    matcher,
                    sequence=WORK,
                    position=prefilled.length,
                    max_tokens=budget,
                    sampler=seeded_sampler(temperature, seed) if temperature > 0 else None,
                    measure=evidence,
                    drafter=None if exact else self._drafter(tokens),
                    cost=self._session.batch_cost,
                )
                decoded = decoder.run(prefilled.row)
                if on_invalid == "retry":
                    self._retry(decoder)
        except DeadlineError:
            if on_budget == "raise":
                raise
        answer, cut = self._finish(matcher or self._matcher(text, grounded), decoded, on_budget)
        value = self._read(answer)
        found = fields(answer, decoded.choices, cut, text) if evidence else {}
        timing = Timing(
            prefill_ms=prefilled.ms,
            decode_ms=decoded.ms,
            total_ms=(time.perf_counter() - start) * 1000,
            prompt_tokens=prefilled.length,
            cached_tokens=prefilled.cached,
            output_tokens=len(decoded.tokens),
            decodes=decoded.decodes,
        )
        return Extraction(value, answer, decoded.stopped, found, timing)

    def _matcher(self, text: str, grounded: bool) -> Matcher:
        if not grounded:
            return self._grammar.matcher()
        return lark_matcher(ground(self.schema, text, self._style), self._session.grammar_tokenizer)

    def _retry(self, decoder: Decoder) -> None:
        """Go back to the least sure token until the value keeps all rules, or give up."""
        for _ in range(MAX_RETRIES):
            if not decoder.out.stopped or self._is_valid(decoder.out):
                return
            if not decoder.measures:
                decoder.run(decoder.start_over())
                continue
            choices = decoder.open_choices()
            if not choices:
                return
            decoder.run(decoder.back_off(choices[0]))

    def _is_valid(self, decoded: Decoded) -> bool:
        try:
            self._read(self._session.engine.detokenize(decoded.tokens).decode())
        except OutputInvalidError:
            return False
        return True

    def _drafter(self, text: list[int]) -> CopyDrafter:
        return CopyDrafter(text, self._session.string_closers)

    def _finish(
        self, matcher: Matcher, decoded: Decoded, on_budget: OnBudget
    ) -> tuple[str, int | None]:
        """The whole answer, and where a budget cut it, in bytes."""
        vocab = self._session.engine.vocab
        data = b"".join(vocab.pieces[token] for token in decoded.tokens)
        if decoded.stopped:
            return data.decode(), None
        if on_budget == "raise":
            raise OutputTruncatedError(
                f"the budget ended after {len(decoded.tokens)} tokens of the answer; allow more "
                'max_tokens or deadline_ms, or use on_budget="close"',
                prefix=data.decode("utf-8", "replace"),
            )
        ending = closing_tokens(matcher, vocab, data)
        return (data + b"".join(vocab.pieces[token] for token in ending)).decode(), len(data)

    def _read(self, answer: str) -> T:
        try:
            return self.schema.read(answer)
        except RecursionError as error:
            raise OutputInvalidError("the answer is nested too deeply", json=answer) from error


def default_prompt(schema: dict[str, Any]) -> PromptSpec:
    """A prompt for a model that was not trained for the task: names the fields wanted.

    Raises:
        SchemaError: the fields' names and descriptions are too long for a prompt.
    """
    names = [_describe(name, rule) for name, rule in _properties(schema).items()]
    wanted = "\n".join(["the following fields from the text as JSON:", *names])
    try:
        return PromptSpec(
            user=f"Extract {wanted if names else 'what the text says as JSON.'}\n\n"
            "Text:\n{{ text }}\n\nJSON:"
        )
    except ValidationError as error:
        raise SchemaError(
            f"the schema's {len(names)} fields and their descriptions have {len(wanted):,} "
            "characters, too many for a prompt; give a prompt that does not list them"
        ) from error


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _describe(name: str, rule: Any) -> str:
    rule = rule if isinstance(rule, dict) else {}
    kind = rule.get("format") or rule.get("type") or ""
    words = f"- {name}" + (f" ({kind})" if isinstance(kind, str) and kind else "")
    if isinstance(rule.get("description"), str):
        words += f": {rule['description']}"
    return without_code(words)


def without_code(words: str) -> str:
    """Braces pulled apart, so that no schema or label can pose as template code."""
    for mark in ("{{", "{%", "{#"):
        words = words.replace(mark, " ".join(mark))
    return words
