"""`edgeslm eval`: how well a model does on gold rows, with intervals, against a bar"""

from __future__ import annotations

from pathlib import Path

import click

from edgeslm.cli.arguments import Choice, model_name
from edgeslm.cli.output import for_people, print_line, tell_error
from edgeslm.cli.progress import bars
from edgeslm.errors import InputError
from edgeslm.formats.text import FOLDS, Fold

#: what is below the bar exits with
_BELOW = 1


@click.command(name="eval")
@model_name()
@click.argument("gold", type=click.Path(path_type=Path), metavar="GOLD.jsonl")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another model (.onnx, .gguf), or answers of another system to the same rows: lines "
    '{"input" or "id", "answer"}.',
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="The bar, 0 to 1, for field F1, accuracy, or of a tagger the rows with every head "
    "right. Default: the lower end of the interval of the card's own score.",
)
@click.option(
    "--fold",
    type=Choice(FOLDS),
    help="What the comparison of extracted texts ignores: case (and how much white space there "
    "is), punctuation (also all punctuation and white space), or none (nothing). Default: case.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line, also on a terminal.")
def evaluate(
    *,
    name: str,
    gold: Path,
    baseline: Path | None,
    min_score: float | None,
    fold: Fold | None,
    as_json: bool,
) -> int:
    """Score a model on rows with known answers.

    \b
    edgeslm eval my-reader gold.jsonl
    edgeslm eval my-reader gold.jsonl --fold punctuation
    edgeslm eval my-router gold.jsonl.gz --baseline other.jsonl --min-score 0.9

    GOLD has a line {"input": …, "answer": …} for each row; the answer is a label, the value
    to extract, or for a tagger by head a label or a list of labels. Exits with 1 below the
    bar, else with 4 if a line is no row.
    """
    from edgeslm.cli.answering import answering_thread
    from edgeslm.evaluation.evaluate import evaluate as run
    from edgeslm.evaluation.evaluate import expected_of, heads_of, task_of
    from edgeslm.evaluation.gold import read_gold
    from edgeslm.models.ask import asker
    from edgeslm.models.load import load

    with load(name) as model:
        rows = read_gold(gold, task_of(model.card), heads_of(model.card), expected_of(model.card))
        answer = asker(model, evidence=False)
        with answering_thread(model) as answered, bars(one=True) as progress:
            report = run(
                model,
                rows,
                baseline=baseline,
                min_score=min_score,
                fold=fold,
                answer=lambda text: answered(answer, text),
                progress=progress,
            )
    if for_people(as_json):
        from edgeslm.cli.eval_report import show

        show(report)
    else:
        print_line({**report.model_dump(mode="json"), "passed": report.passed})
    if report.refused:
        _name_refused(report.refused)
    if not report.passed:
        return _BELOW
    return InputError.exit_code if report.refused else 0


def _name_refused(refused: tuple[str, ...]) -> None:
    of = f"{len(refused):,} lines are not scored; the first, " if len(refused) > 1 else ""
    tell_error(f"{of}{refused[0]}")
