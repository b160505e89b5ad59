"""Card and text become prompt tokens; training calls the same functions as inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeslm.decoding.chat_template import TemplateRefusedError, render
from edgeslm.engines.engine import Vocab
from edgeslm.errors import InputTooLongError, ModelFileError
from edgeslm.formats.card import PromptSpec
from edgeslm.formats.text import Truncate

#: characters that are tokenized at a time: some 50 ms
_PIECE = 16_384
#: tokens by which a piece may have more than its part of the whole
_MOST_BY_CUT = 8

# Stand for the contents while the template renders, so that no content is ever
# parsed for control tokens, or seen by the template's code.
_SYSTEM = "\ue0f0system\ue0f1"
_TEXT = "\ue0f0text\ue0f1"


class Tokenizer(Protocol):
    """What a prompt needs: an Engine has it, and so has training's tokenizer."""

    @property
    def vocab(self) -> Vocab: ...

    @property
    def chat_template(self) -> str | None: ...

    def tokenize(self, text: str, *, special: bool = False) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """The fixed tokens around a text: ``prefix + tokens of the text + suffix``."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    def overhead(self) -> int:
        return len(self.prefix) + len(self.suffix)


def compile_prompt(spec: PromptSpec, tokenizer: Tokenizer) -> Prompt:
    """The tokens of a task's prompt under the model's chat template.

    Control tokens come from the template alone; BOS stands first, once, where the
    model wants one. A template that refuses a system message gets it in front of the
    user's. A model without a template gets the plain words.

    Raises:
        ModelFileError: the template cannot be rendered, or drops or doubles the text.
    """
    before, _, after = spec.user.partition("{{ text }}")
    template = tokenizer.chat_template
    if template is None:
        system = f"{spec.system}\n\n" if spec.system else ""
        segments = [(system + before, False), (None, False), (after + "\n", False)]
    else:
        segments = _segments(_render(template, spec, tokenizer.vocab), spec.system, before, after)
    at = next(i for i, (content, _) in enumerate(segments) if content is None)
    prefix = _tokens(segments[:at], tokenizer)
    bos = tokenizer.vocab.bos
    if bos is not None:
        while prefix and prefix[0] == bos:
            prefix = prefix[1:]
        prefix = [bos, *prefix]
    return Prompt(tuple(prefix), tuple(_tokens(segments[at + 1 :], tokenizer)))


def _render(template: str, spec: PromptSpec, vocab: Vocab) -> str:
    user = {"role": "user", "content": _TEXT}
    try:
        if not spec.system:
            return _render_messages(template, [user], vocab)
        try:
            system = {"role": "system", "content": _SYSTEM}
            return _render_messages(template, [system, user], vocab)
        except TemplateRefusedError:
            user["content"] = f"{_SYSTEM}\n\n{_TEXT}"
            return _render_messages(template, [user], vocab)
    except TemplateRefusedError as error:
        raise ModelFileError(
            f"the model's chat template refuses a single message of the user: {error}. Use a model "
            "made for chat, or set another template in its metadata"
        ) from error


def _render_messages(template: str, messages: list[dict[str, str]], vocab: Vocab) -> str:
    text = render(
        template,
        {
            "messages": messages,
            "add_generation_prompt": True,
            "bos_token": "" if vocab.bos is None else vocab.control.get(vocab.bos, ""),
            "eos_token": vocab.control.get(vocab.end[0], "") if vocab.end else "",
            "enable_thinking": False,
            "tools": None,
        },
    )
    systems = sum(_SYSTEM in message["content"] for message in messages)
    if text.count(_TEXT) != 1 or text.count(_SYSTEM) != systems:
        raise ModelFileError("the model's chat template drops or doubles the text it is given")
    return text


def _segments(
    rendered: str, system: str | None, before: str, after: str
) -> list[tuple[str | None, bool]]:
    """The rendered prompt as (content, is template); the text itself is None."""
    head, _, tail = rendered.partition(_TEXT)
    segments: list[tuple[str | None, bool]] = []
    if system and _SYSTEM in head:
        start, _, head = head.partition(_SYSTEM)
        segments += [(start, True), (system, False)]
    return [*segments, (head, True), (before, False), (None, False), (after, False), (tail, True)]


def _tokens(segments: Sequence[tuple[str | None, bool]], tokenizer: Tokenizer) -> list[int]:
    return [
        token
        for content, special in segments
        if content
        for token in tokenizer.tokenize(content, special=special)
    ]


def text_tokens(
    text: str,
    tokenizer: Tokenizer,
    prompt: Prompt,
    *,
    room: int,
    reserve: int,
    truncate: Truncate,
    check: Callable[[], object],
) -> tuple[list[int], bool]:
    """The text's tokens as ``fit_text`` has them, and whether its middle was dropped.

    A long text is tokenized piece by piece, no further than its tokens may be needed; ``check`` is
    called between, and may raise.

    Raises:
        InputTooLongError: as ``fit_text``.
    """
    if len(text) > _PIECE:
        limit = room - prompt.overhead() - reserve
        if truncate is None or limit < 2:
            least = _at_least(text, tokenizer, limit, check)
            if least > limit:
                raise _too_long(least, prompt, room, reserve, counted="at least ")
        else:
            ends = _ends(text, tokenizer, limit, check)
            if ends is not None:
                return ends, True
    tokens = tokenizer.tokenize(text)
    fitted = fit_text(tokens, prompt, room, reserve, truncate)
    return fitted, len(fitted) < len(tokens)


def _ends(
    text: str, tokenizer: Tokenizer, limit: int, check: Callable[[], object]
) -> list[int] | None:
    """The first and the last tokens of a text, ``limit`` in all; None where they may be all."""
    head: list[int] = []
    tail: list[int] = []
    start, end = 0, len(text)
    first, last = limit - limit // 2, limit // 2
    while len(head) < first or len(tail) < last:
        check()
        if end - start <= _PIECE:
            return None
        if len(head) < first:
            cut = _cut(text, start + _PIECE // 2, start + _PIECE)
            head += tokenizer.tokenize(text[start:cut])
            start = cut
        else:
            cut = _cut(text, max(start, end - _PIECE), end - _PIECE // 2)
            tail = tokenizer.tokenize(text[cut:end]) + tail
            end = cut
    return head[:first] + tail[-last:]


def _at_least(text: str, tokenizer: Tokenizer, limit: int, check: Callable[[], object]) -> int:
    """A number of tokens that a text has at least; counted no further than beyond ``limit``."""
    count = start = 0
    while start < len(text) and count <= limit:
        check()
        cut = _cut(text, start + _PIECE // 2, start + _PIECE)
        # where a word is cut, its parts may be more tokens than the whole
        count += max(0, len(tokenizer.tokenize(text[start:cut])) - _MOST_BY_CUT)
        start = cut
    return count


def _cut(text: str, low: int, high: int) -> int:
    """Where to cut a text: before the last space between two places, else at the second one."""
    space = text.rfind(" ", low, high)
    return min(high, len(text)) if space < 0 or high >= len(text) else space


def _too_long(
    tokens: int, prompt: Prompt, room: int, reserve: int, *, counted: str = ""
) -> InputTooLongError:
    total = tokens + prompt.overhead()
    return InputTooLongError(
        f"the prompt has {counted}{total} tokens ({tokens} of them the text) and {reserve} are "
        f"kept for the answer, but the context holds {room}; shorten the text, or allow "
        'truncate="middle"',
        tokens=total + reserve,
        limit=room,
    )


def fit_text(
    tokens: list[int], prompt: Prompt, room: int, reserve: int, truncate: Truncate
) -> list[int]:
    """The text's tokens such that prompt and ``reserve`` answer tokens fit into ``room`` cells.

    Raises:
        InputTooLongError: they do not, and ``truncate`` is None. ``"middle"`` keeps
            the beginning and the end and drops what is between.
    """
    limit = room - prompt.overhead() - reserve
    if len(tokens) <= limit:
        return tokens
    if truncate is None or limit < 2:
        raise _too_long(len(tokens), prompt, room, reserve)
    head = limit - limit // 2
    return tokens[:head] + tokens[-(limit // 2) :]
