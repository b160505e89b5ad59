"""Documents: rows of texts and records as a reader trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.data.rows import Row
from converters.reading.align import Targets, align
from edgeslm.formats.onnx.reader_spec import ReaderSpec
from edgeslm.tasks.reading.features import UnitFeatures, unit_features
from edgeslm.tasks.reading.layout import Layout, lay_out
from edgeslm.tasks.reading.record import typed_kinds
from edgeslm.tasks.reading.tokens import Windows, in_windows

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Document:
    """One row: its units, their features, what is right, and an encoder's ``tokens`` in windows."""

    id: str
    layout: Layout
    features: UnitFeatures
    targets: Targets
    tokens: tuple[int, ...] = ()
    windows: Windows | None = None


class Documents:
    """Makes documents of rows as the runtime lays out texts."""

    def __init__(
        self, spec: ReaderSpec, tokenizer: Tokenizer | None = None, *, max_tokens: int = 0
    ) -> None:
        """``tokenizer`` is an encoder's, whose windows hold ``max_tokens``."""
        self._spec, self._tokenizer, self._max_tokens = spec, tokenizer, max_tokens
        self._kinds = typed_kinds(spec)

    def __call__(self, rows: Sequence[Row]) -> list[Document]:
        """A document for each row."""
        return [self._of(row) for row in rows]

    def _of(self, row: Row) -> Document:
        layout = lay_out(row.input, self._kinds, words=self._spec.words)
        features, targets = unit_features(layout), align(layout, row.answer, self._spec)
        if self._tokenizer is None:
            return Document(row.id, layout, features, targets, tokens=(0,) * layout.units)
        encoded = self._tokenizer.encode(row.input, add_special_tokens=False)
        begin, end = self._tokenizer.encode("").ids
        windows = in_windows(
            encoded.ids, encoded.offsets, layout, size=self._max_tokens, begin=begin, end=end
        )
        return Document(row.id, layout, features, targets, tuple(encoded.ids), windows)
