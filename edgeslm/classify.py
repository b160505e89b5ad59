"""Classifier: text in, a label and the exact probability of every label out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import ValidationError

from edgeslm.card import LabelSpec, PromptSpec
from edgeslm.errors import LabelError
from edgeslm.labels import probabilities, score_labels, tokenize_labels
from edgeslm.prompt import Truncate, check_text, compile_prompt, fit_text
from edgeslm.result import Classification, Timing
from edgeslm.session import FIRST_FREE, WORK, Session


class Classifier:
    """Puts texts into a closed set of labels. Safe to call from many threads.

    Make one with ``model.classifier(labels)``. ``temperature`` is the calibrated one:
    1 leaves the model's own probabilities.
    """

    def __init__(
        self,
        session: Session,
        labels: Sequence[LabelSpec],
        prompt: PromptSpec,
        *,
        temperature: float = 1.0,
    ) -> None:
        self.labels = tuple(label.name for label in labels)
        self._session = session
        self._temperature = temperature
        with session.request(None):
            self._prompt = compile_prompt(prompt, session.engine)
            self._tokens = tokenize_labels([label.text for label in labels], session.engine)
        self._reserve = sum(map(len, self._tokens))

    def __call__(
        self, text: str, *, deadline_ms: float | None = None, truncate: Truncate = None
    ) -> Classification:
        """Classify one text.

        Args:
            deadline_ms: budget of the call, in milliseconds, time in the queue included.
            truncate: ``"middle"`` drops the middle of a text that does not fit.

        Raises:
            InputError: empty or not text. InputTooLongError: it does not fit the context.
            DeadlineError: the deadline passed. CancelledError: ``model.cancel()`` was called.
        """
        start = time.perf_counter()
        check_text(text)
        engine = self._session.engine
        with self._session.request(deadline_ms):
            tokens = fit_text(
                engine.tokenize(text), self._prompt, engine.max_context, self._reserve, truncate
            )
            prefilled = self._session.prefill(self._prompt, tokens, self._reserve)
            decoding = time.perf_counter()
            scores, decodes = score_labels(
                engine,
                self._tokens,
                sequence=WORK,
                length=prefilled.length,
                row=prefilled.row,
                free=FIRST_FREE,
            )
            decode_ms = (time.perf_counter() - decoding) * 1000
        shares = probabilities(scores, self._temperature)
        best = int(shares.argmax())
        timing = Timing(
            prefill_ms=prefilled.ms,
            decode_ms=decode_ms,
            total_ms=(time.perf_counter() - start) * 1000,
            prompt_tokens=prefilled.length,
            cached_tokens=prefilled.cached,
            output_tokens=len(self._tokens[best]),
            decodes=decodes,
        )
        return Classification(
            label=self.labels[best],
            confidence=float(shares[best]),
            probabilities=dict(zip(self.labels, shares.tolist(), strict=True)),
            timing=timing,
        )


def default_prompt(labels: Sequence[LabelSpec]) -> PromptSpec:
    """A prompt for a model that was not trained for the task: names labels and meanings.

    The labels come before the text, so that all but the text is evaluated once.

    Raises:
        LabelError: labels and descriptions are together too long for a prompt.
    """
    lines = [
        f"- {label.text}: {label.description}" if label.description else f"- {label.text}"
        for label in labels
    ]
    listed = "\n".join(lines)
    try:
        return PromptSpec(
            system=f"Classify the user's text as one of these labels:\n{listed}\n"
            "Answer with the label alone.",
            user="{{ text }}",
        )
    except ValidationError as error:
        raise LabelError(
            f"{len(labels)} labels and their descriptions have {len(listed):,} characters, too "
            "many for a prompt; give shorter ones, or a prompt that does not list them"
        ) from error
