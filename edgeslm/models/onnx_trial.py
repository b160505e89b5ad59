"""The child process of `engines.onnx.trial`: loads an .onnx file and answers its longest text.

It prints one JSON line: the error's class and message, null where the file passed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

#: bytes that a trial may take beside the libraries, and for each byte of the file
_MEMORY = 3 * 1024**3 // 2
_MEMORY_PER_BYTE = 4


#: longer than any model reads
_LONGEST = "a b c d " * 100_000


def main(path: Path) -> None:
    from edgeslm.children import limit_memory
    from edgeslm.engines.onnx.session import load_library
    from edgeslm.errors import EdgeslmError, InputError, OutputInvalidError
    from edgeslm.models.ask import asker
    from edgeslm.models.onnx import open_onnx

    load_library()
    limit_memory(_MEMORY + _MEMORY_PER_BYTE * path.stat().st_size)
    told: dict[str, str | None] = {"error": None, "message": None}
    try:
        with open_onnx(path, threads=1, gpu=False, tried=True) as model:
            asker(model, truncate="middle")(_LONGEST)
    except (InputError, OutputInvalidError):
        pass  # it says that no text fits, or that this one has no answer, which is no harm
    except MemoryError:
        told = {"error": "ModelFileError", "message": f"{path}: takes too much memory"}
    except EdgeslmError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
