"""Listed values: how likely each value is that could stand at an enum or a boolean"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeslm.decoding.decoder import Choice, Decoded, Decoder
from edgeslm.decoding.grammar import Matcher
from edgeslm.decoding.label_scores import LabelTokens, score_labels
from edgeslm.engines.engine import Engine, Steps
from edgeslm.errors import DeadlineError
from edgeslm.results import Field
from edgeslm.tasks.decision import softmax
from edgeslm.tasks.extraction.leaves import Leaf, byte_places, leaves

#: sequences that the values of one leaf are evaluated in; more values take more batches
MOST_FORKS = 4

#: answers that are decoded on from another value; each needs what is behind it weighed again
MAX_CHANGES = 8

#: references and alternatives that lead on to others, before a leaf counts as not listed
_DEEPEST = 64

_SEGMENT = re.compile(r"\[(?P<index>\d+)\]|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]|\.(?P<name>[^.\[]+)")


@dataclass(frozen=True, slots=True)
class Weighed:
    """The probability of every value that could stand at a leaf, by name, and the answer's own."""

    confidence: float
    probabilities: dict[str, float]


class ListedValues:
    """Which leaves of a closed schema take their value from a list, and which list that is."""

    def __init__(self, closed: dict[str, Any]) -> None:
        self._closed = closed
        self._known: dict[str, tuple[Any, ...] | None] = {}
        #: sequences that ``weigh`` needs for any leaf; 0 where there are no listed values
        self.forks = min(MOST_FORKS, _most_listed(closed))

    def at(self, path: str) -> tuple[Any, ...] | None:
        """The values that the schema lists for a leaf; the grammar may allow fewer just there."""
        if path not in self._known:
            self._known[path] = self._look_up(path)
        return self._known[path]

    def formats(self, path: str) -> frozenset[str]:
        """The formats of the strings that may stand at a leaf."""
        nodes = (node for node in self._nodes(path) if isinstance(node, dict))
        return frozenset(node["format"] for node in nodes if "format" in node)

    def _nodes(self, path: str) -> list[Any]:
        nodes = list(self._alternatives(self._closed))
        for segment in _SEGMENT.finditer(path):
            nodes = [
                alternative
                for node in nodes
                for child in _children(node, segment)
                for alternative in self._alternatives(child)
            ]
        return nodes

    def _look_up(self, path: str) -> tuple[Any, ...] | None:
        values: list[Any] = []
        for node in self._nodes(path):
            listed = _listed(node)
            if listed is None:
                return None
            values += listed
        return tuple({json.dumps(value): value for value in values}.values()) or None

    def _alternatives(self, node: Any, depth: int = 0) -> Iterator[Any]:
        """The nodes that a value may be one of, behind references and ``anyOf``."""
        if not isinstance(node, dict) or depth > _DEEPEST:
            yield True
        elif "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            yield from self._alternatives(self._closed["$defs"][name], depth + 1)
        elif "anyOf" in node:
            for part in node["anyOf"]:
                yield from self._alternatives(part, depth + 1)
        else:
            yield node


def _most_listed(part: Any) -> int:
    """The length of the longest list of values anywhere in a schema."""
    if isinstance(part, list):
        return max(map(_most_listed, part), default=0)
    if not isinstance(part, dict):
        return 0
    own = len(_listed(part) or ())
    return max(own, max(map(_most_listed, part.values()), default=0))


def _listed(node: Any) -> list[Any] | None:
    if not isinstance(node, dict):
        return None
    if isinstance(node.get("enum"), list):
        values: list[Any] = node["enum"]
    elif "const" in node:
        values = [node["const"]]
    else:
        kinds = node.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not set(kinds) <= {"boolean", "null"}:
            return None
        values = [value for kind in kinds for value in _OF_KIND[kind]]
    return None if any(isinstance(value, dict | list) for value in values) else values


_OF_KIND: dict[str, tuple[Any, ...]] = {"boolean": (True, False), "null": (None,)}


def _children(node: Any, segment: re.Match[str]) -> Iterator[Any]:
    """What a step of a path leads to in one node; nothing where it cannot be taken there."""
    index = segment["index"]
    if not isinstance(node, dict):
        yield True
    elif node.get("type") != ("object" if index is None else "array"):
        if _listed(node) is None and not isinstance(node.get("type"), str):
            yield True  # of several types, or a list that holds objects and arrays
    elif index is not None:
        first = node.get("prefixItems", [])
        yield first[int(index)] if int(index) < len(first) else node.get("items", True)
    else:
        name = segment["name"] if segment["quoted"] is None else _unquoted(segment["quoted"])
        properties = node.get("properties", {})
        if name in properties:
            yield properties[name]
        else:
            yield from node.get("patternProperties", {}).values()
            others = node.get("additionalProperties", True)
            if others is not False:
                yield others


def _unquoted(name: str) -> str:
    plain: str = json.loads('"' + name.replace("\\'", "'").replace('"', '\\"') + '"')
    return plain


def decide(
    decoder: Decoder,
    engine: Engine,
    listed: ListedValues,
    matcher: Matcher,
    work: Work,
    *,
    is_valid: Callable[[], bool] | None,
) -> Steps[dict[str, Weighed]]:
    """Weigh the values of every listed leaf of a whole answer, and take the likeliest, in steps.

    Token by token, a value that begins likely is taken, be its end ever so unlikely; so where the
    likeliest whole value is another one, that stands instead and the answer is decoded on from
    there. What was decoded stays where the answer would then end in no valid value or over a
    budget, and after MAX_CHANGES changes.

    Args:
        matcher: the decoder's, behind the answer.
        is_valid: whether the decoder's answer is a valid value; None: nothing is changed.

    Returns:
        what was weighed, by path.
    """
    weighed: dict[str, Weighed] = {}
    settled = 0
    for changes_left in reversed(range(MAX_CHANGES + 1)):
        weighings, held = yield from _weigh(
            engine, listed, decoder.out, matcher.copy(), work, settled=settled
        )
        weighed.update((w.path, w.weighed) for w in weighings)
        others = [i for i, w in enumerate(weighings) if w.likeliest is not None]
        if is_valid is None or not others or not changes_left:
            return weighed
        first = weighings[others[-1]]  # those behind it were decoded after another value
        assert first.likeliest is not None
        instead, taken, tokens = first.likeliest
        before = replace(decoder.out, tokens=[*decoder.out.tokens])
        try:
            yield from decoder.resume(taken, tokens, held=held, before=work.before)
            changed = decoder.out.stopped and is_valid()
        except DeadlineError:
            changed = False
        if not changed:
            decoder.out.tokens, decoder.out.choices = before.tokens, before.choices
            decoder.out.stopped = True
            return weighed
        for behind in weighings[: others[-1]]:
            del weighed[behind.path]
        weighed[first.path] = instead
        settled = taken.index + len(tokens)
    return weighed


@dataclass(frozen=True, slots=True)
class Work:
    """Where an answer is weighed: ``sequence`` holds prompt and answer, ``forks`` may be used.

    ``begin`` are the tokens of the prompt, ``before`` is the last one of them, ``room`` the cells
    for an answer: a leaf whose values would need more is left out.
    """

    sequence: int
    forks: Sequence[int]
    begin: int
    before: int
    room: int


@dataclass(frozen=True, slots=True)
class _Weighing:
    """A leaf that was weighed, and its likeliest value, if that is not the one which stands there:
    what would be weighed, the choice that it is, and its tokens."""

    path: str
    weighed: Weighed
    likeliest: tuple[Weighed, Choice, LabelTokens] | None = None


def _weigh(
    engine: Engine,
    listed: ListedValues,
    decoded: Decoded,
    matcher: Matcher,
    work: Work,
    *,
    settled: int,
) -> Steps[tuple[list[_Weighing], int]]:
    """Weigh the values of the listed leaves behind ``settled`` tokens; the last leaf first.

    A value's probability is that of its own spelling, as training tokenizes it, after the text
    and the answer before it, renormalised over the values that the grammar allows there; a
    number counts with each way in which it may end, since it can begin another number. It takes
    a batch for every MOST_FORKS values of a leaf, or ways to end. The matcher is taken back, the
    sequence cut back to the first leaf's beginning.

    Returns:
        the leaves, and how many tokens of the answer the sequence still holds; -1 where the
        prompt's last one is gone, too.
    """
    answer = engine.detokenize(decoded.tokens).decode()
    weighings: list[_Weighing] = []
    spelled = _Spelled(engine, decoded, answer)
    end = held = len(decoded.tokens)
    for leaf in reversed(leaves(answer)):
        values = listed.at(leaf.path)
        if values is None:
            continue
        names = _names(values)
        own = answer[leaf.start : leaf.end]
        choice = spelled.choice(leaf)
        if choice is None:  # nothing else could have stood here
            if own in names:
                weighings.append(_Weighing(leaf.path, Weighed(1.0, {names[own]: 1.0})))
            continue
        if choice.index < settled:
            break
        matcher.rollback(end - choice.index)
        end = choice.index
        root = decoded.tokens[end - 1] if end else work.before
        labels = spelled.labels(leaf, choice, list(names), matcher)
        if list(labels) == [own]:
            weighings.append(_Weighing(leaf.path, Weighed(1.0, {names[own]: 1.0})))
            continue
        ways = [way for several in labels.values() for way in several]
        longest = max(map(len, ways), default=0)
        needed = min(len(ways), len(work.forks)) * longest
        if own not in labels or longest >= engine.max_outputs or end + needed > work.room:
            continue
        held = end - 1
        engine.truncate(work.sequence, work.begin + held)
        scores, decodes = yield from score_labels(
            engine,
            [(root, *tokens) for tokens in ways],
            sequence=work.sequence,
            length=work.begin + held,
            row=np.zeros(engine.vocab.size, np.float32),  # of the root, which all values share
            forks=work.forks,
        )
        decoded.decodes += decodes
        shares, likely = _whole(labels, softmax(scores).tolist())
        named = {names[text]: p for text, p in shares.items()}
        best = max(shares, key=shares.__getitem__)
        likeliest = None
        if shares[best] > shares[own]:
            taken = replace(choice, end=spelled.end(leaf, best), probability=shares[best])
            likeliest = (Weighed(shares[best], named), taken, likely[best])
        weighings.append(_Weighing(leaf.path, Weighed(shares[own], named), likeliest))
    return weighings, held


def _whole(
    labels: Mapping[str, Sequence[LabelTokens]], probabilities: Sequence[float]
) -> tuple[dict[str, float], dict[str, LabelTokens]]:
    """Every value's probability, over all ways to write it, and the likeliest way of each."""
    shares = dict.fromkeys(labels, 0.0)
    likely: dict[str, tuple[float, LabelTokens]] = {}
    ways = ((text, way) for text, several in labels.items() for way in several)
    for (text, way), probability in zip(ways, probabilities, strict=True):
        shares[text] += probability
        likely[text] = max(likely.get(text, (probability, way)), (probability, way))
    return shares, {text: way for text, (_, way) in likely.items()}


def with_weights(fields: dict[str, Field], weighed: Mapping[str, Weighed]) -> dict[str, Field]:
    """The fields with what was weighed: the confidence is then the value's own probability."""
    result = dict(fields)
    for path, weights in weighed.items():
        result[path] = replace(
            result[path],
            confidence=weights.confidence,
            probabilities=weights.probabilities,
            grounded=None,
        )
    return result


def _names(values: Sequence[Any]) -> dict[str, str]:
    """How each value is spelled in an answer, and what it is called: a string by itself."""
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    names = [value if isinstance(value, str) else text for value, text in zip(values, texts)]  # noqa: B905  same length
    return dict(zip(texts, names if len(set(names)) == len(names) else texts, strict=True))


class _Spelled:
    """A decoded answer by its bytes: where tokens end, and how a value would be spelled in it."""

    def __init__(self, engine: Engine, decoded: Decoded, answer: str) -> None:
        self._engine = engine
        self._answer = answer
        self._data = answer.encode()
        self._places = byte_places(answer)
        self._choices = decoded.choices
        self._ends: list[int] = []
        for token in decoded.tokens:
            start = self._ends[-1] if self._ends else 0
            self._ends.append(start + len(engine.vocab.pieces[token]))

    def choice(self, leaf: Leaf) -> Choice | None:
        """The first token with an alternative that holds some of a leaf, or that ends a number:
        the number could have gone on there."""
        start, end = self._places[leaf.start], self._places[leaf.end]
        reached = (choice for choice in self._choices if choice.end > start)
        first = next(reached, None)
        return first if first is not None and first.start < end + self._is_open(leaf) else None

    def _is_open(self, leaf: Leaf) -> bool:
        """Whether what follows a value ends it, as it does a number."""
        return self._answer[leaf.end - 1].isdigit()

    def end(self, leaf: Leaf, text: str) -> int:
        """The byte behind a leaf, if this text stood there."""
        return self._places[leaf.start] + len(text.encode())

    def labels(
        self, leaf: Leaf, choice: Choice, texts: Sequence[str], matcher: Matcher
    ) -> dict[str, list[LabelTokens]]:
        """The tokens of each value from a choice on, as far as the grammar allows the value.

        The last token of each tells it from all others: it holds the quotation mark, or what
        ends a number; a number has the tokens of each end that the grammar allows.
        """
        start, end = self._places[leaf.start], self._places[leaf.end]
        head, written = self._data[choice.start : start], self._data[start : choice.start]
        reach = end + self._is_open(leaf)
        tail = self._data[end : next((e for e in self._ends if e >= reach), end)]
        whole = end == len(self._data)  # the value is all of the answer
        spelled: dict[str, list[LabelTokens]] = {}
        for text in texts:
            value = text.encode()
            if not value.startswith(written):
                continue
            is_number = text[-1].isdigit()
            closed = [b""] if reach > end else [tail, b""]
            ends = _ends_of_number(tail, whole) if is_number else closed
            try:
                rests = [(head + value[len(written) :] + behind).decode() for behind in ends]
            except UnicodeDecodeError:  # the choice parts a character
                return {}
            ways = [tuple(self._engine.tokenize(rest)) for rest in rests]
            ways = [way for way in ways if matcher.valid_prefix(way) == len(way)]
            if is_number and whole:
                ways = [(*way, self._engine.vocab.end[0]) for way in ways]
            if ways:
                spelled[text] = ways if is_number else ways[:1]
        return spelled


def _ends_of_number(tail: bytes, whole: bool) -> list[bytes]:
    """What may follow a number in an answer: what follows this value, or another mark of JSON."""
    if whole:
        return [b""]
    marks = [mark for mark in (b",", b"}", b"]") if not tail.lstrip().startswith(mark)]
    return [tail, *marks] if tail else marks
