"""`edgeslm bench compare`: saved runs side by side, with the ratios and their intervals"""

from __future__ import annotations

from pathlib import Path

import click

from edgeslm.cli.output import for_people, print_line
from edgeslm.formats.files import write_text


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A.json B.json..."
)
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with charts."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line, also on a terminal.")
def compare(files: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Lay runs that `edgeslm bench --json` saved side by side, against the first one.

    \b
    edgeslm bench compare before.json after.json
    edgeslm bench compare laptop.json till.json --html machines.html
    """
    from edgeslm.bench.report.compare import compare as side_by_side
    from edgeslm.bench.report.files import read

    if len(files) < 2:
        raise click.UsageError("name at least two files: edgeslm bench compare A.json B.json")
    reports = [read(path) for path in files]
    comparison = side_by_side(reports)
    if html is not None:
        from edgeslm.bench.report.html import page

        write_text(html, page(reports))
    if for_people(as_json):
        from edgeslm.bench.report.table import render_comparison
        from edgeslm.cli.console import Console

        Console().print(render_comparison(comparison))
    else:
        print_line(comparison.to_dict())
