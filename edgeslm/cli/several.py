"""Doing the same for several names: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeslm.cli.output import for_people, print_line, tell_error
from edgeslm.errors import EdgeslmError


def for_each(
    names: Sequence[str], act: Callable[[str], None], *, as_json: bool = False
) -> list[EdgeslmError]:
    """Call ``act`` with each name, and give the errors of those that failed.

    An error is said once: of several names in its place, as a line for people or a JSON line, and
    of a single one it is raised. stderr then counts the failures and has the first.

    Raises:
        EdgeslmError: the only name failed.
    """
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        act(names[0])
        return []
    people = for_people(as_json)
    failures: list[EdgeslmError] = []
    first = ""
    for name in names:
        try:
            act(name)
        except EdgeslmError as error:
            failures.append(error)
            words = str(error) if str(error).startswith(name) else f"{name}: {error}"
            first = first or words
            if people:
                tell_error(words)
            else:
                print_line({"name": name, "error": error.to_dict()})
    if failures:
        counted = f"{len(failures)} of {len(names)} failed"
        tell_error(counted if people else f"{counted}; the first, {first}")
    return failures
