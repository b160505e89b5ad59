"""Labels that a caller gives to a specialist: which of its own they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgeslm.errors import LabelError

#: labels that a message lists
_SHOWN: Final = 20


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
    names = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else None
    if names is None:
        raise LabelError(
            f"{name} was trained for labels of its own; give a list of some of their names, not "
            f"{'descriptions' if isinstance(given, Mapping) else type(given).__name__}; {way_out}"
        )
    places = {label: place for place, label in enumerate(own)}
    foreign = [label for label in names if label not in places]
    if foreign:
        raise LabelError(
            f"{name} was not trained for {', '.join(map(repr, foreign[:_SHOWN]))}; its labels are "
            f"{_listed(own)}; {way_out}"
        )
    if len(names) < 2 or len(set(names)) != len(names):
        raise LabelError(
            f"give at least two labels of {name}, each once; its labels are {_listed(own)}"
        )
    return tuple(places[label] for label in names)


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(map(repr, labels[:_SHOWN])) + more
