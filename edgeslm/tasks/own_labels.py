"""Labels that a caller gives to a specialist: which of its own they are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from edgeslm import arguments
from edgeslm.errors import LabelError
from edgeslm.formats.card_facts import MAX_LABELS
from edgeslm.formats.labels import doubled

#: labels that a message lists
_SHOWN: Final = 20
#: characters of a label, and of its description
_LONGEST: Final = 200
_LONGEST_DESCRIPTION: Final = 2000


def own_labels(
    name: str, own: Sequence[str], given: Sequence[str] | Mapping[str, str] | None, way_out: str
) -> tuple[int, ...]:
    """The places of the given labels among a specialist's own, in the caller's order; None is all.

    Args:
        name: the specialist's. ``way_out`` says what to do for other labels.

    Raises:
        LabelError: labels that are not its own, fewer than two, doubled, or with descriptions.
    """
    if given is None:
        return tuple(range(len(own)))
    if isinstance(given, Mapping | str | bytes) or not isinstance(given, Collection):
        raise LabelError(
            f"{name} was trained for labels of its own; give a list of some of their names, not "
            f"{'descriptions' if isinstance(given, Mapping) else type(given).__name__}; {way_out}"
        )
    names = list(map(_text, given))
    places = {label: place for place, label in enumerate(own)}
    foreign = [label for label in names if label not in places]
    if foreign:
        raise LabelError(
            f"{name} was not trained for {_foreign(foreign, own)}; its labels are {_listed(own)}; "
            f"{way_out}"
        )
    if len(names) < 2 or len(set(names)) != len(names):
        raise LabelError(
            f"give at least two labels of {name}, each once; its labels are {_listed(own)}"
        )
    return tuple(places[label] for label in names)


def described(
    given: Sequence[str] | Mapping[str, str],
) -> tuple[tuple[str, str | None], ...]:
    """Labels of a caller's own, each with its description or None.

    Raises:
        LabelError: no list or dict of texts; fewer than two, too many, or two that read the
            same; or one that is empty or too long.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        raise LabelError(
            "labels must be a list of names, or a dict of names and descriptions, not "
            f"{arguments.shown(given)}"
        )
    labels = tuple(given.items()) if isinstance(given, Mapping) else tuple((n, None) for n in given)
    if not 2 <= len(labels) <= MAX_LABELS:
        raise LabelError(f"labels must be at least 2 and at most {MAX_LABELS:,}, not {len(labels)}")
    for name, words in labels:
        if not _text(name).strip() or len(name) > _LONGEST:
            raise LabelError(
                f"a label must have 1 to {_LONGEST} characters, not {arguments.shown(name)}"
            )
        if words is not None and len(_text(words)) > _LONGEST_DESCRIPTION:
            raise LabelError(
                f"the description of {name!r} must have at most {_LONGEST_DESCRIPTION:,} "
                f"characters, not {len(words):,}"
            )
    wrong = doubled(name for name, _ in labels)
    if wrong is not None:
        raise LabelError(f"{wrong}; answers could not be told apart")
    return labels


def _text(value: object) -> str:
    """A label or a description, or a LabelError where it is no text."""
    if not isinstance(value, str):
        raise LabelError(f"a label must be a str, not {arguments.shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise LabelError(f"a label must not hold half a surrogate pair: {value!a:.60}") from error
    return value


def _foreign(labels: Sequence[str], own: Sequence[str]) -> str:
    """The labels that are not a specialist's own; first those that are near one, and which."""
    by_spelling = {label.casefold(): label for label in own}
    near, far = [], []
    for label in labels[:_SHOWN]:
        spelling = label[:_LONGEST].casefold()
        meant = difflib.get_close_matches(spelling, by_spelling, 1, cutoff=0.75)
        if meant:
            near.append(f"{arguments.shown(label)} (did you mean {by_spelling[meant[0]]!r}?)")
        else:
            far.append(arguments.shown(label))
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join([*near, *far]) + more


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _SHOWN
    rest = f" and {more} more, which `edgeslm show NAME --json` lists" if more > 0 else ""
    return ", ".join(map(repr, labels[:_SHOWN])) + rest
