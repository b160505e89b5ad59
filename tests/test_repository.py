"""The rules of CONTRIBUTING.md that can be checked: imports, light start, docstrings."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.imports import circles, imports, upward

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("edgeslm", "converters", "benchmarks", "examples", "scripts", "tests", "docs")
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for name in FOLDERS for path in (ROOT / name).rglob("*.py")
)
LIBRARY = [path for path in SOURCES if path.startswith("edgeslm/")]

#: what `import edgeslm` offers; a change here is a change for every user
PUBLIC = [
    "CancelToken",
    "Card",
    "Cascade",
    "CascadeAnswer",
    "Classification",
    "Classifier",
    "Document",
    "EdgeslmError",
    "Extraction",
    "Extractor",
    "Field",
    "Labels",
    "Model",
    "PromptSpec",
    "Tagger",
    "Tags",
    "Timing",
    "__version__",
    "errors",
    "load",
    "read_document",
]

#: each line may import only lines below it; two names of one line do not know each other
ORDER = {
    "edgeslm": """
        __init__ __main__
        cli testing
        bench
        evaluation
        models views
        tasks
        decoding store documents
        engines
        formats
        schema
        results arguments children
        errors
    """,
    "converters": """
        __init__ __main__
        events
        build plan
        steps
        onnx causal
        gates
        reading
        encoder work
        data training
        recipe
        errors
    """,
}

#: the files that may import each of these
ONLY = {
    "llama_cpp": {"edgeslm/engines/llama/library.py", "edgeslm/engines/llama/probe.py"},
    "onnxruntime": {"edgeslm/engines/onnx/session.py"},
    "pypdfium2": set(),  # by its name, in edgeslm/documents/libraries.py
    "PIL": {"edgeslm/documents/pictures.py"},
    "rapidocr": set(),
    "llguidance": {"edgeslm/decoding/grammar.py", "edgeslm/schema/regex.py"},
    "torch": set(),
    "transformers": set(),
    "peft": set(),
    "converters": set(),
    "benchmarks": set(),
}


def imported(path: str) -> set[str]:
    """The dotted names a file imports anywhere, also inside functions; ``a.b`` for `from a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_down(package):
    wrong = [str(item) for item in upward(imports(ROOT, package), ORDER[package])]
    assert not wrong, "imports that go up:\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", ["edgeslm", "converters", "benchmarks", "scripts"])
def test_no_circles_between_files_or_folders(package):
    wrong = circles(imports(ROOT, package))
    assert not wrong, "\n".join(wrong)


def test_contributing_has_the_order():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    lines = [line.split() for line in ORDER["edgeslm"].strip().splitlines()[1:]]
    assert "\n".join("   ".join(names) for names in lines) in text
    lines = [
        line.split() for line in ORDER["converters"].replace("__init__", "").strip().splitlines()
    ]
    names = " > ".join(", ".join(f"`{name}`" for name in names) for names in lines)
    assert names in " ".join(text.split())


@pytest.mark.parametrize("package", ORDER)
def test_contributing_has_every_entry_of_a_package(package):
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tree = text.partition(f"\n{package}/\n")[2].partition("\n\n")[0]
    entries = [path.name for path in (ROOT / package).iterdir() if path.suffix == ".py"]
    entries += [f"{path.parent.name}/" for path in (ROOT / package).glob("*/__init__.py")]
    assert [name for name in entries if f" {name}" not in tree] == []


def test_a_folder_that_is_not_in_the_order_is_named(tmp_path):
    package = tmp_path / "edgeslm"
    (package / "new").mkdir(parents=True)
    (package / "errors.py").write_text('"""Errors."""\n')
    (package / "new" / "thing.py").write_text("import edgeslm.errors\n")
    with pytest.raises(AssertionError, match="'new' has no line in the order"):
        upward(imports(tmp_path, "edgeslm"), ORDER["edgeslm"])


def test_an_import_that_goes_up_is_found_also_in_functions_and_for_type_checkers(tmp_path):
    package = tmp_path / "edgeslm"
    (package / "store").mkdir(parents=True)
    (package / "tasks").mkdir()
    (package / "tasks" / "ask.py").write_text("from edgeslm.store import place\n")
    (package / "store" / "place.py").write_text(
        "if TYPE_CHECKING:\n    from edgeslm.tasks.ask import Ask\n"
        "def find():\n    from edgeslm.tasks import ask\n"
    )
    all_imports = imports(tmp_path, "edgeslm")
    place = ["edgeslm/store/place.py:2", "edgeslm/store/place.py:4"]
    assert [str(item) for item in upward(all_imports, ORDER["edgeslm"])] == [
        f"{line} imports edgeslm/tasks/ask.py" for line in place
    ]
    assert [line.partition(": ")[2] for line in circles(all_imports)] == [
        *(f"{line} imports edgeslm/tasks/ask.py" for line in place),
        "edgeslm/tasks/ask.py:1 imports edgeslm/store/place.py",
    ]


@pytest.mark.parametrize("path", LIBRARY)
def test_each_heavy_library_has_one_importer(path):
    wrong = {
        name
        for name in {name.split(".")[0] for name in imported(path)}
        if path not in ONLY.get(name, {path})
    }
    assert not wrong, f"{path} may not import {wrong}"


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_says_what_it_is_for(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.match(r'r?"""\S.{10,}', text), f"{path}: the first line must say what it is for"


@pytest.mark.parametrize("path", SOURCES)
def test_a_variable_says_what_was_found(path):
    lines = [
        node.lineno
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if "found" in {getattr(node, name, None) for name in ("id", "arg", "attr")}
    ]
    assert lines == [], f"{path}: name it by what was found"


def test_no_path_of_one_machine():
    # A path below the home or work folder of somebody, or a package index that is not public.
    private = re.compile(r"(/home/[a-z]|/root/|/Users/[A-Za-z]|[A-Z]:\\\\Users)")
    texts = [*SOURCES, *(p.name for p in ROOT.glob("*.*") if p.suffix in {".md", ".toml"})]
    texts += [p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")]
    texts += ["Makefile", ".ci/run"]
    this = Path(__file__).relative_to(ROOT).as_posix()
    offenders = {
        path: match[0]
        for path in texts
        if path != this and (match := private.search((ROOT / path).read_text(encoding="utf-8")))
    }
    assert offenders == {}


def test_readme_has_every_exit_code():
    from edgeslm.errors import EXIT_CODES

    rows = re.findall(r"^\| (\d+) \| ", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == list(EXIT_CODES)


# --- `import edgeslm` ---------------------------------------------------------


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running ``code``."""
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{code}; {show}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_import_is_light():
    heavy = {"numpy", "llama_cpp", "onnxruntime", "pydantic", "llguidance", "huggingface_hub"}
    heavy |= {"PIL", "pypdfium2", "rapidocr"}
    assert loaded_after("import edgeslm") & heavy == set()


def test_help_is_light():
    code = (
        "from edgeslm.cli.main import cli; from click.testing import CliRunner; "
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0"
    )
    assert loaded_after(code) & {"numpy", "llama_cpp", "onnxruntime", "llguidance"} == set()


def test_public_names():
    import edgeslm

    assert sorted(edgeslm.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(edgeslm, name)] == []
