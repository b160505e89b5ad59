"""Export: every supported architecture keeps its logits and its tokens, or nothing is written."""

import json
import random
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("torch", reason="needs edgeslm[train]")
if find_spec("auto_round") is None:
    pytest.skip("needs edgeslm[train]", allow_module_level=True)

from converters.causal import export
from converters.causal.encode import Encoded
from converters.causal.export import check_carried, export_gguf, load_hf_tokenizer
from converters.causal.hf_folder import ARCHITECTURES
from converters.causal.hf_to_gguf import bundled_converter
from converters.causal.parity import float_parity
from converters.errors import BaseModelError
from edgeslm.errors import PullError
from edgeslm.formats.gguf.info import read_gguf
from tests.helpers.tiny_hf import CONTROL, FAMILIES, converting_here, set_json, write_tiny_hf

#: what a tokenizer trained by a test splits text by; its hash is nobody's
PRE = "gpt-2"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Family -> (random model, its folder, its F32 GGUF)."""
    root = tmp_path_factory.mktemp("families")
    models = {family: write_tiny_hf(root / family, family) for family in FAMILIES}

    files = {family: root / f"{family}.gguf" for family in FAMILIES}
    with converting_here():
        for family, file in files.items():
            export_gguf(root / family, file, dtype="F32", name="tiny", pre=PRE)
    return {family: (models[family], root / family, files[family]) for family in FAMILIES}


@pytest.fixture(scope="module")
def folder(exported):
    return exported["llama"][1]


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the Llama folder that a test may damage."""
    target = tmp_path / "copy"
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def rows(n_vocab=400):
    draw = random.Random(1)
    return [
        Encoded(str(length), tuple(draw.randrange(3, n_vocab) for _ in range(length)), 5)
        for length in (9, 70, 200)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_what_transformers_does(exported, family):
    model, _, gguf = exported[family]
    parity = float_parity(model, gguf, rows())
    assert parity.n == 4 + 65 + 195
    assert parity.top1 == 1.0
    assert parity.mean_kl < 2e-5
    assert parity.max_kl < 5e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_and_template_are_carried(exported, family):
    _, folder, gguf = exported[family]
    assert check_carried(folder, gguf) == []
    info = read_gguf(gguf)
    assert info.chat_template is not None
    assert info.metadata["tokenizer.ggml.bos_token_id"] == 0
    assert info.metadata["tokenizer.ggml.eos_token_id"] == 2


def test_every_difference_of_the_tokenizer_is_named(exported, copy):
    gguf = exported["llama"][2]
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    set_json(copy / "tokenizer_config.json", eos_token=CONTROL[1])
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"].append(
        {**tokenizer["added_tokens"][0], "id": 400, "content": "<|new|>"}
    )
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    differences = check_carried(copy, gguf)
    assert [difference.split(":")[0] for difference in differences] == [
        "the chat template",
        "EOS",
        "token 400 '<|new|>'",
    ]


def test_what_would_be_lost_stops_the_export(monkeypatch, exported, folder, tmp_path):
    monkeypatch.setattr(export, "check_carried", lambda *_: [f"token {n}" for n in range(7)])
    target = tmp_path / "x.gguf"
    expected = pytest.raises(BaseModelError, match=r"token 0; .*token 4 \(and 2 more\)")
    with converting_here(), expected:
        export_gguf(folder, target, pre=PRE)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_pre_tokenizer_says_what_to_do(folder, tmp_path):
    with pytest.raises(BaseModelError, match=r"pre-tokenizer.*pass pre=NAME.*token_parity"):
        export_gguf(folder, tmp_path / "x.gguf")
    assert list(tmp_path.iterdir()) == []


def test_the_child_is_silent_and_tells_how_far_it_is(folder, exported, tmp_path, capfd):
    seen = []
    gguf = export_gguf(
        folder,
        tmp_path / "made" / "x.gguf",
        dtype="F16",
        pre=PRE,
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    assert {tensor.type_name for tensor in read_gguf(gguf).tensors} == {"F16", "F32"}
    assert gguf.stat().st_size < 0.7 * exported["llama"][2].stat().st_size
    what, done, total = seen[-1]
    assert (what, done) == ("exporting", total)
    assert [file.name for file in gguf.parent.iterdir()] == ["x.gguf"]
    assert capfd.readouterr() == ("", "")


# --- folders that are refused before any library reads them -----------------------


def refused(folder, tmp_path, match):
    with pytest.raises(BaseModelError, match=match):
        export_gguf(folder, tmp_path / "out" / "x.gguf", pre=PRE)
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_never_loaded(copy, tmp_path):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    refused(copy, tmp_path, "pickled weights")


def test_damaged_weights(copy, tmp_path):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-100])
    refused(copy, tmp_path, r"model\.safetensors: damaged")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "'MambaForCausalLM' is not supported"),
        ({"architectures": None}, "is not supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
    ],
)
def test_configs_that_are_refused(copy, tmp_path, values, match):
    set_json(copy / "config.json", **values)
    refused(copy, tmp_path, match)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_config_that_is_no_object(copy, tmp_path, text):
    (copy / "config.json").write_text(text, encoding="utf-8")
    refused(copy, tmp_path, r"config\.json: not ")


@pytest.mark.parametrize(
    "values",
    [{"tokenizer_class": "HybridDNATokenizer"}, {"auto_map": {"AutoTokenizer": ["a.B", None]}}],
)
def test_a_tokenizer_with_code_of_its_own(copy, tmp_path, values):
    set_json(copy / "tokenizer_config.json", **values)
    refused(copy, tmp_path, "code of its own")


def test_files_that_are_missing_or_too_large(copy, tmp_path):
    with (copy / "README.md").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    refused(copy, tmp_path, r"README\.md: larger than")
    (copy / "README.md").unlink()
    (copy / "tokenizer.json").unlink()
    refused(copy, tmp_path, "has neither tokenizer")
    refused(tmp_path / "nothing", tmp_path, "no such folder")


def test_a_damaged_tokenizer_is_one_clear_error(copy, tmp_path):
    set_json(copy / "tokenizer.json", model={"type": "BPE", "vocab": "none", "merges": 3})
    with pytest.raises(BaseModelError, match="cannot load this tokenizer"):
        load_hf_tokenizer(copy)


def test_no_room(monkeypatch, folder, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(PullError, match="needed"):
        export_gguf(folder, tmp_path / "x.gguf", pre=PRE)


def test_an_interrupt_ends_the_child_and_leaves_nothing(monkeypatch, folder, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(export, "_command", lambda *_: command)
    with pytest.raises(KeyboardInterrupt):
        export_gguf(folder, tmp_path / "x.gguf", pre=PRE, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


# --- what is relied on of auto-round ----------------------------------------------


def test_contract_with_the_bundled_converter():
    """A new version of auto-round or gguf that breaks the export is seen here first."""
    import gguf

    before = {*sys.modules}
    with converting_here():
        conversion = bundled_converter()
        assert "auto_round.autoround" not in sys.modules
        assert "datasets" not in {*sys.modules} - before
        for architecture in ARCHITECTURES:
            model_class = conversion.get_model_class(architecture)
            assert model_class.model_arch in gguf.MODEL_ARCH_NAMES, architecture
            assert callable(model_class.get_vocab_base_pre)
        assert conversion.ModelType.TEXT
        assert callable(conversion.get_model_architecture)
        assert callable(conversion.ModelBase.load_hparams)
