"""One fresh process, from its first line to its first answer; prints the parts as JSON."""

import sys
import time

started = time.perf_counter()
import edgeslm  # noqa: E402  the import is part of what is timed

imported = time.perf_counter()

TEXT = "Corner Kiosk, 14 Pier Road, Whitby. 3 May 2024. One newspaper. Total 2.40"


def main(path: str, *labels: str) -> None:
    """Load the model file, extract four fields of a short text, print milliseconds.

    With ``labels`` classify the text instead.
    """
    with edgeslm.load(path) as model:
        loaded = time.perf_counter()
        if labels:
            model.classifier(labels)(TEXT)
        else:
            from benchmarks.data.schemas import Receipt

            model.extractor(Receipt)(TEXT)
        answered = time.perf_counter()
    import json

    marks = {
        "import": (started, imported),
        "load": (imported, loaded),
        "answer": (loaded, answered),
    }
    parts = {name: (end - start) * 1000 for name, (start, end) in marks.items()}
    print(json.dumps(parts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
