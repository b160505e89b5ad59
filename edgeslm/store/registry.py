"""The registry: which models there are by name, of models.toml files and of Python packages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from edgeslm.errors import ModelNotFoundError, RegistryError
from edgeslm.store import packages, places
from edgeslm.store.entry import Entry, read_registry

#: characters of a name that a message repeats; no model's is as long
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Registry:
    """Entries by name, in the order of their files.

    A name that no file has is looked for in the Python packages that bring models.
    """

    entries: dict[str, Entry]

    @classmethod
    def load(cls) -> Registry:
        """edgeslm's own models.toml, then the user's, then those of ``EDGESLM_MODELS``.

        Raises:
            RegistryError: a file cannot be read, or an entry is not of the promised form.
        """
        entries: dict[str, Entry] = {}
        for path in places.registry_files():
            entries.update({entry.name: entry for entry in read_registry(path)})
        return cls(entries)

    def get(self, name: str) -> Entry:
        """The entry of this name.

        Raises:
            ModelNotFoundError: none has it; the message suggests near names.
            RegistryError: it is of a package that is damaged, or of two.
        """
        entry = self._find(name)
        if entry is not None:
            return entry
        names = dict.fromkeys([*self.entries, *packages.names()])
        near = difflib.get_close_matches(name[:_SHOWN].lower(), names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`edgeslm models` lists all names"
        shown = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"
        raise ModelNotFoundError(f"no model is called {shown}; {hint}")

    def base_of(self, entry: Entry) -> Entry | None:
        """The entry of the base that this one is an adapter for; None where it is a whole model.

        Raises:
            RegistryError: no such entry, or one that cannot be a base.
        """
        if entry.base is None:
            return None
        base = self._find(entry.base)
        if base is None:
            packaged = self.packaged(entry.name)
            missing = () if packaged is None else packages.missing_requirements(packaged)
            wrong = "which no registry and no package has; " + (
                f"its package is not installed: pip install {' '.join(missing)}"
                if missing
                else "add an entry for it"
            )
        elif base.base is not None:
            wrong = "which is an adapter itself; name a whole model"
        elif not base.verified or base.suffix != ".gguf":
            wrong = "which is no .gguf file with a sha256; give its entry one"
        else:
            return base
        raise RegistryError(f"{entry.name}: its base is {entry.base!r}, {wrong}")

    def packaged(self, name: str) -> packages.Packaged | None:
        """The model that a package brings under this name, unless a models.toml has the name."""
        return None if name in self.entries else packages.find(name)

    def _find(self, name: str) -> Entry | None:
        packaged = self.packaged(name)
        return self.entries.get(name) if packaged is None else packaged.entry

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())
