"""GGUF headers: what is read from good files, and that bad ones give one clear error, quickly."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslm.errors import CardError, ModelFileError
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.gguf.constants import FILE_TYPES, TENSOR_TYPES
from edgeslm.formats.gguf.header import ArrayInfo
from edgeslm.formats.gguf.info import GGUFInfo, kv_bytes, read_gguf
from tests.helpers.raw_gguf import (
    ARRAY,
    BOOL,
    ENTRIES,
    STRING,
    U8,
    U32,
    U64,
    array_entry,
    entry,
    raw_gguf,
    string,
    tensor,
    text_entry,
    tokens_entry,
    u32_entry,
)
from tests.helpers.tiny_gguf import CHATML, write_tiny_gguf

GOOD = raw_gguf()


def read(tmp_path: Path, raw: bytes) -> GGUFInfo:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return read_gguf(path)


# --- good files ---------------------------------------------------------------


def test_a_tiny_model_is_described(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "t.gguf", n_layer=3, n_ctx=128)
    info = read_gguf(path)
    assert (info.architecture, info.name, info.licence) == ("llama", "Tiny Random", "apache-2.0")
    assert (info.n_layer, info.context_length, info.embedding_length) == (3, 128, 64)
    assert (info.n_head, info.n_head_kv) == ((4,) * 3, (2,) * 3)
    assert (info.key_length, info.value_length) == (16, 16)
    assert info.chat_template == CHATML
    assert info.chat_template_sha256 == hashlib.sha256(CHATML.encode()).hexdigest()
    assert info.card is None
    assert info.size == path.stat().st_size
    # The same numbers through the library that wrote the file.
    reader = gguf.GGUFReader(path)
    assert info.vocab_size == len(reader.fields["tokenizer.ggml.tokens"].data)
    assert list(info.metadata) == [key for key in reader.fields if not key.startswith("GGUF.")]
    assert [
        (t.name, t.shape, t.type_name, t.n_bytes, info.layout.data + t.offset) for t in info.tensors
    ] == [
        (t.name, tuple(map(int, t.shape)), t.tensor_type.name, t.n_bytes, t.data_offset)
        for t in reader.tensors
    ]


@pytest.mark.parametrize(
    ("quant", "bits"), [("F32", 32), ("F16", 16), ("Q8_0", 8.5), ("Q4_0", 4.5)]
)
def test_quantization_is_the_label_and_bits_are_what_is_stored(
    tmp_path: Path, quant: str, bits: float
) -> None:
    info = read_gguf(write_tiny_gguf(tmp_path / "t.gguf", quant=quant))
    assert info.quantization == quant
    # Norms stay in float32, which the real number includes.
    norms = sum(t.n_bytes // 4 for t in info.tensors if len(t.shape) == 1)
    stored = (info.parameters - norms) * bits + norms * 32
    assert info.bits_per_weight == pytest.approx(stored / info.parameters)


def test_quantization_without_a_label_is_the_type_of_most_weights(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "t.gguf", quant="Q8_0", **{"general.file_type": None})
    assert read_gguf(path).quantization == "Q8_0"


def test_tables_agree_with_the_gguf_library() -> None:
    sizes = {int(kind): (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert dict(TENSOR_TYPES) == sizes
    labels = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf.LlamaFileType
        if kind is not gguf.LlamaFileType.GUESSED
    }
    assert labels == FILE_TYPES


def test_heads_may_differ_per_layer(tmp_path: Path) -> None:
    heads = array_entry("llama.attention.head_count_kv", U32, 2, struct.pack("<II", 4, 0))
    entries = [*ENTRIES[:1], u32_entry("llama.block_count", 2), *ENTRIES[2:], heads]
    info = read(tmp_path, raw_gguf(entries))
    assert info.n_head_kv == (4, 0)
    assert kv_bytes(info, 10) == 10 * 4 * (8 + 8) * 2


def test_kv_bytes_counts_key_and_value_lengths_of_their_own(tmp_path: Path) -> None:
    lengths = (
        u32_entry("llama.attention.key_length", 6),
        u32_entry("llama.attention.value_length", 4),
    )
    assert kv_bytes(read(tmp_path, raw_gguf([*ENTRIES, *lengths])), 100) == 100 * (6 + 4) * 2


def test_long_arrays_are_not_kept(tmp_path: Path) -> None:
    scores = array_entry("tokenizer.ggml.scores", 6, 2000, bytes(8000))
    info = read(tmp_path, raw_gguf([*ENTRIES, scores, text_entry("after", "é")]))
    assert info.metadata["tokenizer.ggml.scores"] == ArrayInfo(6, 2000)
    assert info.metadata["tokenizer.ggml.tokens"] == ArrayInfo(STRING, 4)
    assert info.metadata["after"] == "é"


def test_a_header_larger_than_one_read_is_followed_to_its_end(tmp_path: Path) -> None:
    rng = random.Random(3)
    tokens = [bytes(rng.choices(range(256), k=rng.randrange(40))) for _ in range(100_000)]
    entries = [*ENTRIES[:-1], tokens_entry([*tokens, bytes(3_000_000)]), text_entry("after", "x")]
    info = read(tmp_path, raw_gguf(entries))
    assert info.layout.data > 4_000_000
    assert info.vocab_size == 100_001
    assert info.metadata["after"] == "x"


def test_alignment_is_the_files_own(tmp_path: Path) -> None:
    entries = [*ENTRIES, u32_entry("general.alignment", 64)]
    table = [tensor("a"), tensor("b", offset=64)]
    info = read(tmp_path, raw_gguf(entries, table, alignment=64, data=bytes(96)))
    assert info.layout.data % 64 == 0


# --- bad files ------------------------------------------------------------------

FOREIGN = {
    "empty": (b"", "empty"),
    "zeros": (bytes(4096), "interrupted download"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><title>404</title>", "web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
    "zip": (b"PK\x03\x04" + bytes(60), "PyTorch"),
    "pickle": (b"\x80\x02}q\x00X\x01", "pickle"),
    "safetensors": (struct.pack("<Q", 60) + b'{"__metadata__":{}}' + bytes(60), "safetensors"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x05" + bytes(60), "ONNX"),
    "ggml": (b"lmgg" + bytes(60), "GGML"),
    "ggjt": (b"tjgg\x03\0\0\0", "GGJT"),
    "json": (b'{"error":"Repository not found"}', "JSON"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "text": (b"hello", "letters GGUF"),
    "one byte": (b"\x08", "letters GGUF"),
    "half a magic": (b"GGU", "letters GGUF"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named(tmp_path: Path, name: str) -> None:
    raw, says = FOREIGN[name]
    with pytest.raises(ModelFileError, match="again") as caught:
        read(tmp_path, raw)
    assert says in str(caught.value)
    assert "model.gguf" in str(caught.value)
    assert str(caught.value).count("not a GGUF") + str(caught.value).count("no GGUF") == 1


def _with(*more: bytes) -> bytes:
    return raw_gguf([*ENTRIES, *more])


def _tensors(*table: bytes, data: bytes = bytes(64)) -> bytes:
    return raw_gguf(tensors=table, data=data)


HUGE = 2**63
BAD = {
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 6) + GOOD[24:], "big-endian"),
    "newer": (raw_gguf(version=4), "version 4.*update edgeslm"),
    "older": (raw_gguf(version=1), "version 1.*convert"),
    "doubled key": (_with(ENTRIES[0]), "'general.architecture' occurs twice"),
    "key not UTF-8": (_with(text_entry(b"\xff\xfe", "x")), "not UTF-8"),
    "value not UTF-8": (_with(text_entry("general.name", b"\xc3")), "'general.name' is not UTF-8"),
    "long key": (_with(text_entry("k" * 70_000, "x")), "over the 65535 allowed"),
    "long value": (_with(entry("k", STRING, struct.pack("<Q", HUGE))), "over the 16777216 allowed"),
    "short value": (_with(entry("k", STRING, struct.pack("<Q", 5000) + b"x")), "cut short"),
    "value type": (_with(entry("k", 13, bytes(8))), "unknown type 13"),
    "nested array": (_with(array_entry("k", ARRAY, 1, bytes(12))), "items of unknown type 9"),
    "huge array": (_with(array_entry("k", U8, HUGE, b"")), "cut short"),
    "huge string array": (_with(array_entry("k", STRING, HUGE, b"")), "cut short"),
    "huge string in array": (
        _with(array_entry("k", STRING, 1, struct.pack("<Q", 2**64 - 1))),
        "cut short",
    ),
    "many entries": (raw_gguf(n_entries=2**40), "claims 1099511627776 metadata entries"),
    "many tensors": (raw_gguf(n_tensors=2**40), "claims 1099511627776 tensors"),
    "missing entries": (raw_gguf(n_entries=60_000), "damaged|cut short"),
    "alignment 0": (_with(u32_entry("general.alignment", 0)), "alignment"),
    "alignment 33": (_with(u32_entry("general.alignment", 33)), "alignment"),
    "alignment text": (_with(text_entry("general.alignment", "32")), "alignment"),
    "no architecture": (raw_gguf(ENTRIES[1:]), "no general.architecture"),
    "architecture number": (
        raw_gguf([u32_entry("general.architecture", 1), *ENTRIES[1:]]),
        "general.architecture is not a string",
    ),
    "no vocabulary": (raw_gguf(ENTRIES[:-1]), "no vocabulary"),
    "empty vocabulary": (raw_gguf([*ENTRIES[:-1], tokens_entry([])]), "no vocabulary"),
    "no layers": (raw_gguf([ENTRIES[0], *ENTRIES[2:]]), "no 'llama.block_count'"),
    "zero layers": (
        raw_gguf([ENTRIES[0], u32_entry("llama.block_count", 0), *ENTRIES[2:]]),
        "'llama.block_count' is no sensible count",
    ),
    "4e9 layers": (
        raw_gguf([ENTRIES[0], u32_entry("llama.block_count", 2**32 - 1), *ENTRIES[2:]]),
        "'llama.block_count' is no sensible count",
    ),
    "true layers": (
        raw_gguf([ENTRIES[0], entry("llama.block_count", BOOL, b"\x01"), *ENTRIES[2:]]),
        "'llama.block_count' is no sensible count",
    ),
    "heads of other layers": (
        _with(array_entry("llama.attention.head_count_kv", U32, 3, bytes(12))),
        "count per layer",
    ),
    "template number": (_with(u32_entry("tokenizer.chat_template", 1)), "is not a string"),
    "adapter": (_with(text_entry("general.type", "adapter")), "LoRA adapter.*base"),
    "projector": (_with(text_entry("general.type", "mmproj")), "not a language model but 'mmproj'"),
    "split": (_with(u32_entry("split.count", 3)), "one part of a model.*llama-gguf-split"),
    "no tensors": (raw_gguf(tensors=(), data=b""), "no weights"),
    "doubled tensor": (_tensors(tensor("a"), tensor("a", offset=32)), "'a' occurs twice"),
    "tensor type": (_tensors(tensor("a", kind=31)), "'a' has type 31.*update edgeslm"),
    "tensor name": (_tensors(tensor("a" * 64)), "over the 63 allowed"),
    "tensor name not UTF-8": (_tensors(tensor(b"\xff")), "not UTF-8"),
    "no dimensions": (_tensors(tensor("a", ())), "0 dimensions"),
    "five dimensions": (_tensors(tensor("a", (1,) * 5)), "5 dimensions"),
    "zero dimension": (_tensors(tensor("a", (8, 0))), r"shape \(8, 0\)"),
    "overflowing shape": (_tensors(tensor("a", (2**62, 2**62, 4))), "cut short"),
    "half a block": (_tensors(tensor("a", (33,), kind=8)), "type Q8_0 has the shape"),
    "offset beyond the end": (_tensors(tensor("a", offset=1 << 40)), "offset 1099511627776"),
    "misaligned offset": (_tensors(tensor("a"), tensor("b", offset=8)), "'b' is at offset 8"),
    "overlapping": (_tensors(tensor("a", (16,)), tensor("b", offset=32)), "expected 64"),
    "cut weights": (_tensors(tensor("a", (17,))), "cut short: tensor 'a' ends at byte"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    raw, says = BAD[name]
    with pytest.raises(ModelFileError, match=says) as caught:
        read(tmp_path, raw)
    assert str(tmp_path / "model.gguf") in str(caught.value)


def test_the_base_of_the_damaged_files_is_good(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).vocab_size == 4


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        with pytest.raises(ModelFileError):
            read(tmp_path, GOOD[:length])


def test_long_or_unprintable_names_stay_out_of_messages(tmp_path: Path) -> None:
    key = "\x1b[31m" + "k" * 5000
    with pytest.raises(ModelFileError) as caught:
        read(tmp_path, _with(text_entry(key, "x"), text_entry(key, "y")))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_not_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.gguf", "a\0b"):
        with pytest.raises(ModelFileError):
            read_gguf(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelFileError, match="not a file"):
        read_gguf(tmp_path / "pipe.gguf")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (u32_entry(CARD_KEY, 1), "not a string"),
        (text_entry(CARD_KEY, "{"), "card"),
        (text_entry(CARD_KEY, '{"format":2}'), "format 2"),
        (text_entry(CARD_KEY, "[" * 100_000), "card"),
        (text_entry(CARD_KEY, " " * 5_000_000), "over the 4194304 allowed"),
    ],
)
def test_a_bad_card_is_a_card_error(tmp_path: Path, value: bytes, says: str) -> None:
    info = read(tmp_path, raw_gguf([*ENTRIES, value]))
    with pytest.raises(CardError, match=says):
        _ = info.card


# --- fuzz -----------------------------------------------------------------------


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    mutated = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutated))
        match rng.randrange(5):
            case 0:
                mutated[at] ^= 1 << rng.randrange(8)
            case 1:
                mutated[at : at + 8] = struct.pack(
                    "<Q", rng.choice([0, 1, 2**31, 2**63, 2**64 - 1])
                )
            case 2:
                mutated[at:at] = struct.pack("<Q", rng.randrange(1 << rng.randrange(1, 64)))
            case 3:
                del mutated[at : at + rng.randint(1, 16)]
            case 4:
                del mutated[max(at, 4) :]
    return bytes(mutated)


def _survives(path: Path, raw: bytes) -> bool:
    """Whether a file is read; anything but a result or one of the two errors is raised."""
    path.write_bytes(raw)
    started = time.monotonic()
    try:
        _ = read_gguf(path).card
    except (ModelFileError, CardError):
        return False
    finally:
        assert time.monotonic() - started < 1
    return True


def test_mutated_headers_give_an_error_or_a_result(tmp_path: Path) -> None:
    rng = random.Random(11)
    task = '{"kind":"classify","labels":["a","b"]}'
    card = text_entry(CARD_KEY, f'{{"name":"n","licence":"mit","task":{task}}}')
    numbers = array_entry("n", U64, 3, bytes(24))
    originals = [GOOD, raw_gguf([*ENTRIES, numbers]), raw_gguf([*ENTRIES, card])]
    assert all(_survives(tmp_path / "fuzz.gguf", raw) for raw in originals)
    read_count = 0
    tracemalloc.start()
    for index in range(3000):
        raw = _mutated(rng, originals[index % 3])
        read_count += _survives(tmp_path / "fuzz.gguf", raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000
    assert 30 < read_count < 2970  # both outcomes are reached, so the mutations are not idle


@settings(max_examples=300, deadline=None)
@given(tail=st.binary(max_size=300), start=st.integers(4, len(GOOD)))
def test_arbitrary_bytes_after_any_part_of_a_header(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, start: int
) -> None:
    _survives(tmp_path_factory.getbasetemp() / "any.gguf", GOOD[:start] + tail)


@settings(max_examples=100, deadline=None)
@given(values=st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=8))
def test_strings_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]
) -> None:
    values = {f"x.{key}": value for key, value in values.items()}
    entries = [entry(key, STRING, string(value)) for key, value in values.items()]
    path = tmp_path_factory.getbasetemp() / "strings.gguf"
    path.write_bytes(raw_gguf([*ENTRIES, *entries]))
    metadata = read_gguf(path).metadata
    assert {key: metadata[key] for key in values} == values


def test_the_reader_needs_neither_gguf_nor_numpy() -> None:
    # Both take long to load, and `edgeslm show` should answer at once.
    code = "import sys, edgeslm.formats.gguf.info; assert not {'gguf', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
