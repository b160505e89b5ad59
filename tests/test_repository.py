"""The rules of CONTRIBUTING.md that can be checked: imports, light start, docstrings, file list."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("edgeslm", "converters", "benchmarks", "examples", "scripts", "tests", "docs")
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for name in FOLDERS for path in (ROOT / name).rglob("*.py")
)
LIBRARY = [path for path in SOURCES if path.startswith("edgeslm/")]
MAX_LINES = 400

#: A module imports only those before it. Modules of one line may be read in any order.
ORDER = """
errors
small_file
texts
result
intervals
normal
answers
cgroup processor
machine
card_facts
card
decide
calibrate
risk
scoring
gold
scoring_tags
gguf_format gguf_header
gguf_file
gguf_guard
schema_dialect
schema_meta
schema_source
schema_keywords
schema_negation
schema_rewrite
schema_regex
schema_leaves
schema_disjoint
schema_choices
schema_arrays
schema_counts
schema_objects
schema_compile
schema_finite schema_pydantic
schema
schema_prompt
transfer
pack
adapter_file
merge
chat_template
engine
steps
leases
pace
thread_choice
prompt
testing
grammar
engines.__init__ engines.probe
engines.llama_kernels
engines.llama_library
engines.llama_memory engines.llama_vocab
engines.llama_tokenizer
engines.llama_quantize
engines.llama_context
engines.llama_adapter
engines.llama
assemble
draft_length
draft_values
draft
prefix_cache
prefix_slots
session
batch
closing
decode
labels
label_search
evidence
alternatives
grounding
extract
classify
onnx_wire
onnx_parts
onnx_file
engines.onnx
encoder
linear
known
onnx_reader
onnx_model
registry
wheel
fetch
versions
incoming
store
model
cascade_members
cascade_call
cascade
selftest
evaluate
install
doctor
bench.__init__
bench.schema
bench.statistics
bench.nvidia
bench.sensors
bench.limits
bench.energy
bench.facts
bench.invented
bench.inputs
bench.tasks
bench.correctness
bench.raw
bench.start_child
bench.start
bench.footprint
bench.load
bench.vocabulary
bench.synthetic
bench.roofline
bench.figures
bench.published
bench.saved
bench.summary
bench.compare
bench.svg
bench.charts
bench.table
bench.html
bench.run
cli.__init__
cli.inputs
cli.tables
cli.scores
cli.doctor
cli.models
cli.schema
cli.answer
cli.show
cli.eval
cli.bench_compare
cli.bench
__main__
__init__
"""
RANK = {name: rank for rank, line in enumerate(ORDER.splitlines()) for name in line.split()}

#: what `import edgeslm` offers; a change here is a change for every user
PUBLIC = [
    "Card",
    "Cascade",
    "CascadeAnswer",
    "Classification",
    "Classifier",
    "EdgeslmError",
    "Extraction",
    "Extractor",
    "Field",
    "Labels",
    "Model",
    "OnnxClassifier",
    "OnnxModel",
    "PromptSpec",
    "Tagger",
    "Tags",
    "Timing",
    "errors",
    "load",
]

#: the files that may import each of these
ONLY = {
    "llama_cpp": {"edgeslm/engines/llama_library.py", "edgeslm/engines/probe.py"},
    "onnxruntime": {"edgeslm/engines/onnx.py"},
    "llguidance": {"edgeslm/grammar.py", "edgeslm/schema_regex.py"},
    "torch": set(),
    "transformers": set(),
    "peft": set(),
    "converters": set(),
    "benchmarks": set(),
}


def module(path: str) -> str:
    return path.removeprefix("edgeslm/").removesuffix(".py").replace("/", ".")


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


def modules_of(names: set[str]) -> set[str]:
    """Those of our modules that imported names mean: ``edgeslm.errors.X`` is ``errors``."""
    found = set()
    for name in names:
        parts = name.split(".")[1:]
        if name.split(".")[0] != "edgeslm":
            continue
        for candidate in (parts, parts[:-1], [*parts, "__init__"], [*parts[:-1], "__init__"]):
            if ".".join(candidate) in RANK:
                found.add(".".join(candidate))
                break
        else:
            raise AssertionError(f"{name} is no module in the table ORDER of {__file__}")
    return found


@pytest.mark.parametrize("path", LIBRARY)
def test_imports_go_one_way(path):
    assert module(path) in RANK, f"put {module(path)} into the table ORDER of {__file__}"
    wrong = [name for name in modules_of(imported(path)) if RANK[name] > RANK[module(path)]]
    assert not wrong, f"{path} imports {wrong}, which come after it in the table ORDER"


@pytest.mark.parametrize("path", LIBRARY)
def test_each_heavy_library_has_one_importer(path):
    wrong = {
        name
        for name in {name.split(".")[0] for name in imported(path)}
        if path not in ONLY.get(name, {path})
    }
    assert not wrong, f"{path} may not import {wrong}"


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_says_what_it_is_for_and_stays_short(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.match(r'r?"""\S.{10,}', text), f"{path}: the first line is to say what it is for"
    lines = text.count("\n")
    assert lines <= MAX_LINES, f"{path} has {lines} lines"


def test_contributing_lists_every_file():
    listed = set(re.findall(r"^- `([^`]+\.py)`: \S", contributing(), flags=re.MULTILINE))
    missing = [f"- `{path}`: {purpose(path)}" for path in SOURCES if path not in listed]
    assert not missing, "add to CONTRIBUTING.md:\n" + "\n".join(missing)


def test_contributing_lists_nothing_that_is_not_there():
    lines = re.findall(r"^- (`.*?`): ", contributing(), flags=re.MULTILINE)
    listed = [name for line in lines for name in re.findall(r"`([^`]+)`", line)]
    assert listed
    assert [name for name in listed if not (ROOT / name).exists()] == []


def contributing() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition("## Every file in a line")[2]


def purpose(path: str) -> str:
    """What the first line of a file says, for the list."""
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].rstrip(".")


def test_no_path_of_one_machine():
    # A path below the home or work folder of somebody, or a package index that is not public.
    private = re.compile(r"(/home/[a-z]|/root/|/Users/[A-Za-z]|[A-Z]:\\\\Users)")
    texts = [*SOURCES, *(p.name for p in ROOT.glob("*.*") if p.suffix in {".md", ".toml"})]
    texts += [p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")]
    texts += ["Makefile", ".ci/run"]
    this = Path(__file__).relative_to(ROOT).as_posix()
    found = {
        path: match[0]
        for path in texts
        if path != this and (match := private.search((ROOT / path).read_text(encoding="utf-8")))
    }
    assert found == {}


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
    assert loaded_after("import edgeslm") & heavy == set()


def test_help_is_light():
    code = (
        "from edgeslm.cli import cli; from click.testing import CliRunner; "
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0"
    )
    assert loaded_after(code) & {"numpy", "llama_cpp", "onnxruntime", "llguidance"} == set()


def test_public_names():
    import edgeslm

    assert sorted(edgeslm.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(edgeslm, name)] == []
