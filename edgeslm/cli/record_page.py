"""`edgeslm extract --html OUT`: all inputs and their answers on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edgeslm.cli.arguments import check_output
from edgeslm.cli.inputs import Input, Source
from edgeslm.errors import EdgeslmError, InputError
from edgeslm.formats.files import megabytes, write_text
from edgeslm.results import Extraction

if TYPE_CHECKING:
    from edgeslm.models.ask import Result

#: inputs on one page
MOST_RECORDS: Final = 200
#: characters of one page, which are mostly those of pictures
MOST_CHARACTERS: Final = 128_000_000


def check_page(path: Path, source: Source) -> None:
    """Refuse at once a page that could not be written at the end.

    Raises:
        InputError: its folder is not there or takes no files.
        click.UsageError: more files are named than a page has room for, or it is one of them.
    """
    check_output(path)
    count = len(source.files) + len(source.texts)
    if count > MOST_RECORDS:
        raise click.UsageError(
            f"--html shows {MOST_RECORDS} inputs at most, and there are {count:,}; give fewer"
        )
    if any(path.absolute() == Path(file).absolute() for file in source.files):
        raise click.UsageError(f"--html {path} is one of the inputs; name another file")


class RecordPage:
    """A page that grows by a record for each answer, and is written at the end."""

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        self._model = model
        self._views: list[str] = []
        self._characters = 0

    def add(self, item: Input, result: Result | EdgeslmError) -> None:
        """Show an input and its answer, or why there is none.

        Raises:
            InputError: the page has no room for it.
        """
        from edgeslm.views.record import Record, view

        if not isinstance(result, Extraction | EdgeslmError):
            raise TypeError("only extractions have a record")
        if len(self._views) == MOST_RECORDS:
            raise self._full(item, f"has {MOST_RECORDS} inputs, the most that it may have")
        source = None if isinstance(item.text, InputError) else item.source
        pictures, note = _pictures(item, result)
        record = Record(item.place, source, result, pictures, note)
        shown = view(record, f"r{len(self._views) + 1}")
        self._characters += len(shown)
        if self._characters > MOST_CHARACTERS:
            raise self._full(item, f"would have more than {megabytes(MOST_CHARACTERS)}")
        self._views.append(shown)

    def write(self) -> None:
        """Write the page.

        Raises:
            EdgeslmError: it cannot be written.
        """
        from edgeslm.views.record import page

        # pages are shared: not where the model lies on this machine
        about = f"Read by {Path(self._model).name}. Confidence is how sure the model is of a value."
        title = "1 record" if len(self._views) == 1 else f"{len(self._views)} records"
        write_text(self._path, page(self._views, title, about))

    def _full(self, item: Input, why: str) -> InputError:
        return InputError(
            f"{item.place}: {self._path} {why}, so it was not written; give fewer inputs, or leave "
            "--html out"
        )


def _pictures(item: Input, result: Extraction[Any] | EdgeslmError) -> tuple[dict[int, bytes], str]:
    """The pages of a document that are shown, and why some of them could not be drawn."""
    if item.document is None or isinstance(result, EdgeslmError):
        return {}, ""
    from edgeslm.documents.draw import draw_pages
    from edgeslm.views.record import pages_shown

    pictures: dict[int, bytes] = {}
    try:
        pictures.update(draw_pages(item.data, item.document, pages_shown(item.document, result)))
    except EdgeslmError as error:
        return pictures, f"Pages are blank here, since they could not be drawn: {error}"
    return pictures, ""
