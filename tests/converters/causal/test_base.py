"""The base: found by what a recipe names, loaded and saved without loss, or one clear error."""

from importlib.util import find_spec
from types import SimpleNamespace

import pytest

if find_spec("transformers") is None:
    pytest.skip("needs edgeslm[train]", allow_module_level=True)

import huggingface_hub
import numpy as np
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import load_file, save_file

from converters.causal import base
from converters.causal.base import load_base, resolve_base, runtime_gguf, save_hf
from converters.causal.encode import Encoded
from converters.causal.export import export_gguf, load_hf_tokenizer
from converters.causal.gguf_tokenizer import rebuild_tokenizer
from converters.causal.parity import float_parity, token_parity
from converters.errors import BaseModelError
from edgeslm.errors import EdgeslmError, ModelFileError, RegistryError
from edgeslm.formats.gguf.info import read_gguf
from edgeslm.store.store import Store
from tests.helpers.tiny_gguf import write_tiny_gguf
from tests.helpers.tiny_hf import converting_here, write_tiny_hf

ROWS = [Encoded("a", tuple(range(3, 90)), 8)]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """A quantized base, as most are."""
    path = tmp_path_factory.mktemp("base") / "tiny.gguf"
    return write_tiny_gguf(path, pre="smollm", quant="Q4_1")


@pytest.fixture
def folder(tmp_path):
    write_tiny_hf(tmp_path / "hf")
    return tmp_path / "hf"


# --- from a GGUF to a folder and back ---------------------------------------------------


def test_a_quantized_base_becomes_a_float_model_with_the_same_logits(gguf, tmp_path):
    model = load_base(gguf).eval()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    saved = save_hf(model, gguf, tmp_path / "saved")
    with converting_here():
        again = export_gguf(saved, tmp_path / "again.gguf", dtype="F32", pre="smollm")
    assert float_parity(model, again, ROWS).mean_kl < 2e-5
    assert token_parity(again, load_hf_tokenizer(saved), n=300).differing <= 1
    old, new = read_gguf(gguf), read_gguf(again)
    assert new.chat_template == old.chat_template
    assert new.context_length == old.context_length
    for key in ("bos_token_id", "eos_token_id"):
        assert new.metadata[f"tokenizer.ggml.{key}"] == old.metadata[f"tokenizer.ggml.{key}"]


def test_a_saved_model_replaces_the_one_before(gguf, tmp_path):
    model = load_base(gguf)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "old.txt").write_text("old", encoding="utf-8")
    save_hf(model, gguf, tmp_path / "saved")
    assert not (tmp_path / "saved" / "old.txt").exists()
    assert torch.equal(load_base(tmp_path / "saved").lm_head.weight, model.lm_head.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_save_that_fails_leaves_the_one_before(monkeypatch, gguf, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "saved").mkdir()
    monkeypatch.setattr(base, "_save_tokenizer", full)
    with pytest.raises(EdgeslmError, match="No space left"):
        save_hf(load_base(gguf), gguf, tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_the_tokenizer_of_a_folder_is_copied_as_it_is(folder, tmp_path):
    save_hf(load_base(folder), folder, tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()


def test_weights_that_are_no_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"model\.norm\.weight holds values that are not numb"):
        load_base(folder)


def test_a_gguf_that_is_cut_short(gguf, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:-5000])
    with pytest.raises(ModelFileError):
        load_base(cut)


def test_a_tokenizer_that_cannot_be_rebuilt(tmp_path):
    with pytest.raises(BaseModelError, match=r"\(llama, default\) cannot be rebuilt"):
        rebuild_tokenizer(write_tiny_gguf(tmp_path / "x.gguf", vocab="spm"))
    with pytest.raises(BaseModelError, match=r"\(gpt2, falcon\) cannot be rebuilt"):
        rebuild_tokenizer(write_tiny_gguf(tmp_path / "y.gguf", pre="falcon"))


def test_bos_is_put_first_where_the_gguf_says_so(tmp_path):
    changes = {"tokenizer.ggml.add_bos_token": True}
    tokenizer = rebuild_tokenizer(write_tiny_gguf(tmp_path / "x.gguf", **changes))
    assert tokenizer("the")["input_ids"][0] == tokenizer.bos_token_id == 1


@pytest.mark.real
def test_the_rebuilt_tokenizer_of_the_real_base():
    """transformers' own reader disagrees with llama.cpp on about 250 of these 5,000 texts."""
    try:
        path = Store().resolve("smollm2-135m")
    except RegistryError as error:
        pytest.skip(f"needs the real model: {error}")
    report = token_parity(path, rebuild_tokenizer(path), n=5000)
    assert report.differing <= 10, report.first


# --- what a recipe names ------------------------------------------------------------------


def test_files_folders_and_names(monkeypatch, gguf, folder):
    assert resolve_base(str(gguf)) == gguf
    assert resolve_base(str(folder)) == folder
    monkeypatch.setattr(Store, "resolve", lambda _self, name: gguf.with_name(name))
    assert resolve_base("smollm2-135m") == gguf.with_name("smollm2-135m")


def test_what_is_not_there(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.gguf"):
        resolve_base(str(tmp_path / "none.gguf"))
    with pytest.raises(RegistryError):
        resolve_base("no-such-model")


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/b/c", "hf:../b c", "hf:a/b@"])
def test_names_of_the_hub_that_are_none(name):
    with pytest.raises(BaseModelError, match="hf:OWNER/NAME"):
        resolve_base(name)


def test_the_hub_gives_safetensors_only(monkeypatch, folder):
    calls = []

    def download(repository, **options):
        calls.append((repository, options))
        return [SimpleNamespace(file_size=1000)] if options.get("dry_run") else str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_base("hf:owner/name@v1.0") == folder
    assert [repository for repository, _ in calls] == ["owner/name"] * 2
    for _, options in calls:
        assert options["revision"] == "v1.0"
        assert not any(".bin" in p or p.startswith("*") for p in options["allow_patterns"])


def test_a_base_of_the_hub_that_is_too_large(monkeypatch):
    huge = [SimpleNamespace(file_size=base.MAX_HUB_BYTES), SimpleNamespace(file_size=1)]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_a, **_k: huge)
    with pytest.raises(BaseModelError, match="over the"):
        resolve_base("hf:owner/name")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def offline(*_args, **_options):
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BaseModelError, match="hf:owner/name: cannot be fetched: offline"):
        resolve_base("hf:owner/name")


# --- whose tokens training uses -------------------------------------------------------------


def test_the_runtime_file_of_a_folder_is_exported_once(monkeypatch, gguf, folder, tmp_path):
    made = []

    def export(source, target, **_):
        made.append(source)
        target.write_bytes(b"x")
        return target

    monkeypatch.setattr(base, "export_gguf", export)
    assert runtime_gguf(gguf, tmp_path) == gguf
    target = runtime_gguf(folder, tmp_path)
    assert runtime_gguf(folder, tmp_path) == target == tmp_path / "base.F16.gguf"
    assert made == [folder]
    (folder / "config.json").touch()
    runtime_gguf(folder, tmp_path)
    assert made == [folder, folder]


def test_weights_keep_their_values_through_the_gguf(folder, tmp_path):
    model = load_base(folder)
    with converting_here():
        gguf = export_gguf(folder, tmp_path / "x.gguf", dtype="F32", pre="gpt-2")
    again = load_base(gguf).state_dict()
    for name, weight in model.state_dict().items():
        assert np.array_equal(weight.numpy(), again[name].numpy()), name
