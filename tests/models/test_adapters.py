"""Adapters beside one loaded base: switched per call, never mixed, refused where they do not fit"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import edgeslm
from edgeslm.decoding.sequences.prefix_files import LIMIT_VARIABLE
from edgeslm.engines.engine import Batch, Logits
from edgeslm.engines.llama.engine import LlamaEngine
from edgeslm.errors import ArgumentError, CardError, EngineError, ModelFileError, ModelNotFoundError
from edgeslm.formats.card import Card
from edgeslm.formats.card_facts import CARD_KEY
from edgeslm.formats.files import file_sha256
from edgeslm.formats.gguf.adapter import Assembly, Mark, Quantization
from edgeslm.models.model import Model
from tests.engines.llama.test_engine_threads import check as check_threads
from tests.helpers.engines import feed, tokens_of
from tests.helpers.tiny_adapter import write_tiny_adapter
from tests.helpers.tiny_gguf import write_tiny_gguf

LABELS = {"refund": "the customer wants money back", "billing": "the customer asks for an invoice"}
TEXTS = ("the ice is thin", "my money, please", "where is the invoice")


def card_of(name: str, **prompt: str) -> Card:
    data = {"name": name, "licence": "mit", "task": {"kind": "classify", "labels": [*LABELS]}}
    beside = {"proven_as": ["file", "adapter"]}
    return Card.from_dict({**data, **beside, "prompt": prompt}, where=name)


def assembly(base_sha256: str) -> str:
    return Assembly(
        base_sha256=base_sha256,
        quantization=Quantization(file_type="Q4_0"),
        tensors={"output.weight": Mark(sha256="0" * 64, error=0.0)},
        file_sha256="0" * 64,
        build="none",
    ).model_dump_json()


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of the tiny model, with cards."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        write_tiny_adapter(
            folder / f"{name}.gguf",
            tiny_model,
            seed=seed,
            **{
                "edgeslm.card": card_of(name).to_json(),
                "edgeslm.assembly": assembly(file_sha256(tiny_model)),
            },
        )
        for seed, name in enumerate(("one", "two"))
    ]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with edgeslm.load(tiny_model, threads=1) as loaded:
        yield loaded


# --- the engine -----------------------------------------------------------------------------


def ask(engine: LlamaEngine, adapter: int | None, tokens: list[int] | None = None) -> Logits:
    """The logits after some tokens, all evaluated with this adapter."""
    engine.use_adapter(adapter)
    engine.truncate(0, 0)
    return feed(engine, tokens or tokens_of(30))


def test_each_adapter_has_its_logits_and_the_base_keeps_its_own(
    engine: LlamaEngine, adapters: list[Path]
) -> None:
    base = ask(engine, None)
    numbers = [engine.add_adapter(path) for path in adapters]
    first = {number: ask(engine, number) for number in (None, *numbers)}
    assert np.array_equal(first[None], base)
    assert len({row.tobytes() for row in first.values()}) == 3
    for number in (numbers[1], None, numbers[0], numbers[1], numbers[0], None):
        assert np.array_equal(ask(engine, number), first[number])


def test_an_adapter_is_what_its_factors_say(
    tiny_model: Path, tmp_path: Path, engine: LlamaEngine
) -> None:
    base = ask(engine, None)
    nothing = engine.add_adapter(write_tiny_adapter(tmp_path / "0.gguf", tiny_model, size=0.0))
    assert np.array_equal(ask(engine, nothing), base)
    rows = []
    for alpha in (8.0, 8e-3):  # the change goes by alpha / rank
        path = write_tiny_adapter(tmp_path / f"{alpha}.gguf", tiny_model, alpha=alpha)
        rows.append(np.abs(ask(engine, engine.add_adapter(path)) - base).max())
    assert rows[0] > 0.5 > 0.02 > rows[1] > 0


def test_a_new_context_goes_on_with_the_adapter(engine: LlamaEngine, adapters: list[Path]) -> None:
    number = engine.add_adapter(adapters[0])
    expected = ask(engine, number)
    engine.resize(2 * engine.context_size)
    assert np.array_equal(feed(engine, tokens_of(30)), expected)


def test_a_removed_adapter_is_gone_and_its_number_with_it(
    engine: LlamaEngine, adapters: list[Path]
) -> None:
    base = ask(engine, None)
    number = engine.add_adapter(adapters[0])
    ask(engine, number)
    engine.remove_adapter(number)  # while it is in use
    engine.truncate(0, 0)
    assert np.array_equal(feed(engine, tokens_of(30)), base)
    again = engine.add_adapter(adapters[1])  # may get the other one's memory
    assert again != number
    with pytest.raises(EngineError, match="the adapter is closed"):
        engine.use_adapter(number)
    with closing(LlamaEngine(engine.info.path, threads=1)) as fresh:
        assert np.array_equal(ask(engine, again), ask(fresh, fresh.add_adapter(adapters[1])))


def test_a_closed_engine_takes_none(tiny_model: Path, adapters: list[Path]) -> None:
    engine = LlamaEngine(tiny_model, threads=1)
    number = engine.add_adapter(adapters[0])
    engine.close()
    engine.remove_adapter(number)
    for call in (lambda: engine.add_adapter(adapters[0]), lambda: engine.use_adapter(number)):
        with pytest.raises(EngineError, match="the model is closed"):
            call()


def test_many_adapters_leave_no_memory_behind(engine: LlamaEngine, adapters: list[Path]) -> None:
    import psutil

    process = psutil.Process()

    def turn() -> None:
        number = engine.add_adapter(adapters[0])
        engine.use_adapter(number)
        feed(engine, [5])
        engine.truncate(0, 0)
        engine.remove_adapter(number)

    for _ in range(30):
        turn()
    before = process.memory_info().rss
    for _ in range(400):
        turn()
    # an adapter takes 45 kB: all of them would be 18 MB; the allocator keeps a few
    assert process.memory_info().rss - before < 9_000_000


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kind", "cells"), [("F16", 100), ("F16", 300), ("BF16", 300), ("F32", 100)]
)
def test_logits_with_an_adapter_do_not_depend_on_the_batch(
    tmp_path: Path, kind: str, cells: int, threads: int
) -> None:
    base = write_tiny_gguf(tmp_path / "base.gguf", quant="Q4_0")
    with closing(LlamaEngine(base, threads=threads)) as engine:
        assert engine.steady
        path = write_tiny_adapter(tmp_path / "a.gguf", base, kind=kind)
        engine.use_adapter(engine.add_adapter(path))
        feed(engine, tokens_of(cells), sequence=1)
        rows = {}
        for size in (48, 1, 2, 7):
            engine.fork(1, 0)
            logits = [
                engine.evaluate(Batch.run(run, cells + at, 0, wanted=len(run))).copy()
                for at in range(0, 48, size)
                if (run := tokens_of(48, 5)[at : at + size])
            ]
            rows[size] = np.concatenate(logits)
        assert [size for size in rows if not np.array_equal(rows[size], rows[1])] == []


@pytest.mark.real
@pytest.mark.parametrize("cells", [100, 300])
def test_so_it_is_on_the_real_model_with_any_threads(
    real_model: Path, tmp_path: Path, cells: int
) -> None:
    with closing(LlamaEngine(real_model, threads=2)) as engine:
        path = write_tiny_adapter(tmp_path / "a.gguf", real_model, rank=16, size=0.1)
        engine.use_adapter(engine.add_adapter(path))
        check_threads(engine, cells)


# --- a loaded model -------------------------------------------------------------------------


def test_calls_of_all_adapters_mix(tiny_model: Path, model: Model, adapters: list[Path]) -> None:
    alone = {}
    for path in (None, *adapters):
        for text in TEXTS:
            with edgeslm.load(tiny_model, threads=1) as fresh:
                one = fresh if path is None else fresh.adapter(path)
                alone[path, text] = one.classifier(LABELS, untrained=True)(text).probabilities
    assert len({tuple(shares.values()) for shares in alone.values()}) == len(alone)
    models = {None: model, **{path: model.adapter(path) for path in adapters}}
    sorters = {path: one.classifier(LABELS, untrained=True) for path, one in models.items()}
    # where cells lie changes the last digits, also without adapters
    for text in TEXTS * 2:
        for path in (adapters[0], None, adapters[1], None):
            assert sorters[path](text).probabilities == pytest.approx(alone[path, text], rel=5e-3)
    with ThreadPoolExecutor(8) as pool:
        calls = {key: pool.submit(sorters[key[0]], key[1]) for key in alone}
        for key, call in calls.items():
            assert call.result().probabilities == pytest.approx(alone[key], rel=5e-3)


def test_an_adapter_brings_its_card(model: Model, adapters: list[Path]) -> None:
    one, two = (model.adapter(path) for path in adapters)
    assert (model.card, one.card, two.card) == (None, card_of("one"), card_of("two"))
    assert set(one.classifier()(TEXTS[0]).probabilities) == set(LABELS)
    with pytest.raises(CardError, match="no card with labels"):
        model.classifier()


def test_saved_prompts_belong_to_their_adapter(
    tiny_model: Path, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESLM_HOME", str(tmp_path))
    monkeypatch.delenv(LIMIT_VARIABLE)
    runs = []
    for _ in range(2):
        with edgeslm.load(tiny_model, threads=1) as base:
            models = (base, *(base.adapter(path) for path in adapters))
            runs.append([one.classifier(LABELS, untrained=True)(TEXTS[0]) for one in models])
    for first, again in zip(*runs, strict=True):
        assert first.timing.cached_tokens == 0 < again.timing.cached_tokens
        assert first.probabilities == again.probabilities
    assert len(list((tmp_path / "prefixes").glob("*.prefix"))) == 3


def test_closing_an_adapter_leaves_the_rest(model: Model, adapters: list[Path]) -> None:
    with model.adapter(adapters[0]) as one:
        sorter, base = one.classifier(), model.classifier(LABELS, untrained=True)
        two = model.adapter(adapters[1]).classifier()
        before = [ask(TEXTS[0]).probabilities for ask in (base, two)]
        sorter(TEXTS[0])
    one.close()
    for call in (lambda: sorter(TEXTS[0]), one.classifier, lambda: one.adapter(adapters[1])):
        with pytest.raises(EngineError, match="the adapter is closed"):
            call()
    assert [ask(TEXTS[0]).probabilities for ask in (base, two)] == before
    model.close()
    with pytest.raises(EngineError, match="the model is closed"):
        two(TEXTS[0])
    one.close()


def test_an_adapter_waits_for_its_call_before_it_goes(slow_model: Path, tmp_path: Path) -> None:
    path = write_tiny_adapter(tmp_path / "slow.gguf", slow_model)
    with edgeslm.load(slow_model, threads=1) as base:
        one = base.adapter(path)
        sorter = one.classifier(LABELS, untrained=True)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(sorter, "the " * 200)
            closer = threading.Timer(0.1, one.close)
            closer.start()
            assert call.result().label in LABELS
            closer.join()
        with pytest.raises(EngineError, match="the adapter is closed"):
            sorter("x")


# --- what is refused ------------------------------------------------------------------------


def test_an_adapter_for_another_base_is_refused_by_its_hash(
    model: Model, tiny_model: Path, tmp_path: Path
) -> None:
    twin = write_tiny_gguf(tmp_path / "twin.gguf", seed=1)  # the same shapes
    path = tmp_path / "a.gguf"
    write_tiny_adapter(path, twin, **{"edgeslm.assembly": assembly(file_sha256(twin))})
    with pytest.raises(ModelFileError, match="another base") as raised:
        model.adapter(path)
    for part in (path, tiny_model, file_sha256(twin), file_sha256(tiny_model)):
        assert str(part) in str(raised.value)
    with edgeslm.load(twin, threads=1) as right:
        right.adapter(path).classifier(LABELS, untrained=True)(TEXTS[0])


def test_a_base_that_was_replaced_is_not_vouched_for(
    tiny_model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(tiny_model, tmp_path / "base.gguf"))
    with edgeslm.load(path, threads=1) as model:
        write_tiny_gguf(tmp_path / "new.gguf", seed=2).replace(path)
        with pytest.raises(ModelFileError, match="changed since it was opened"):
            model.adapter(adapters[0])


Q = "blk.0.attn_q.weight"
HOSTILE = {
    "another width": ({"shapes": {Q: ((4, 32), (64, 4))}}, "32 x 64, the model's is 64 x 64"),
    "another height": ({"shapes": {Q: ((4, 64), (32, 4))}}, "64 x 32, the model's is 64 x 64"),
    "two ranks": ({"shapes": {Q: ((4, 64), (64, 3))}}, "do not fit each other"),
    "the embeddings": (
        {"shapes": {"token_embd.weight": ((456, 4), (4, 64))}},
        "do not fit each other",
    ),
    "straight embeddings": (
        {"shapes": {"token_embd.weight": ((4, 64), (456, 4))}},
        "no matrix of a layer",
    ),
    "a norm": ({"shapes": {"blk.0.attn_norm.weight": ((4, 64), (1, 4))}}, "64 x 1, the model"),
    "a layer too many": ({"shapes": {"blk.9.attn_q.weight": ((4, 64), (64, 4))}}, "does not have"),
    "quantized": ({"kind": "Q8_0", "rank": 32}, "do not fit each other"),
    "a wide alpha": ({"alpha": np.float64(8)}, "no float32"),
    "a text for alpha": ({"alpha": "8"}, "above zero"),
    "no alpha": ({"alpha": None}, "above zero"),
    "alpha infinite": ({"alpha": float("inf")}, "above zero"),
    "another kind": ({"adapter.type": "control"}, "not a LoRA adapter"),
    "a number for the kind": ({"adapter.type": 3}, "not a LoRA adapter"),
    "another architecture": ({"general.architecture": "qwen2"}, "the architecture 'qwen2'"),
    "a number for it": ({"general.architecture": 7}, "which architecture"),
    "switched on within": ({"adapter.alora.invocation_tokens": [1, 2]}, "aLoRA"),
    "odd alignment": ({"general.alignment": 8}, "aligned"),
}


@pytest.mark.parametrize(("changes", "why"), HOSTILE.values(), ids=HOSTILE)
def test_an_adapter_that_does_not_fit_is_refused(
    engine: LlamaEngine, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    path = write_tiny_adapter(tmp_path / "bad.gguf", engine.info.path, **changes)  # type: ignore[arg-type]
    before = ask(engine, None)
    with pytest.raises(ModelFileError, match=why) as raised:
        engine.add_adapter(path)
    assert str(path) in str(raised.value)
    assert np.array_equal(ask(engine, None), before)


def test_no_cut_or_foreign_file_is_an_adapter(
    model: Model, tiny_model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    whole = adapters[0].read_bytes()
    path = tmp_path / "a.gguf"
    for length in (0, 3, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"a\.gguf"):
            model.adapter(path)
    with pytest.raises(ModelFileError, match="not a LoRA adapter"):
        model.adapter(tiny_model)
    with pytest.raises(ModelNotFoundError, match="no such file"):
        model.adapter(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="a LoRA adapter, which cannot answer alone"):
        edgeslm.load(adapters[0])


def test_a_card_of_another_chat_template_is_refused(
    model: Model, tiny_model: Path, tmp_path: Path
) -> None:
    card = card_of("other", chat_template_sha256="0" * 64).to_json()
    path = write_tiny_adapter(tmp_path / "a.gguf", tiny_model, **{"edgeslm.card": card})
    with pytest.raises(CardError, match="made for a chat template"):
        model.adapter(path)


@pytest.mark.parametrize("ways", [None, ["file"], ["file", "adapter"], ["adapter"]])
def test_an_adapter_answers_beside_its_base_only_where_it_was_proven_so(
    tmp_path: Path, tiny_model: Path, ways: list[str] | None
) -> None:
    card = card_of("reader").model_dump(mode="json")
    del card["proven_as"]
    card |= {} if ways is None else {"proven_as": ways}
    path = tmp_path / "reader.gguf"
    write_tiny_adapter(path, tiny_model, **{CARD_KEY: json.dumps(card)})
    with edgeslm.load(tiny_model, threads=1) as base:
        if "adapter" not in (ways or ()):
            with pytest.raises(CardError, match=r"reader was proven as one file.*unproven=True"):
                base.adapter(path)
            with pytest.raises(ArgumentError, match="unproven must be"):
                base.adapter(path, unproven="yes")  # type: ignore[arg-type]
        else:
            base.adapter(path).close()
        with base.adapter(path, unproven=True) as model:
            assert model.classifier()(TEXTS[0]).label in LABELS


def test_an_adapter_without_a_card_promises_nothing(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "plain.gguf"
    write_tiny_adapter(path, tiny_model)
    with edgeslm.load(tiny_model, threads=1) as base, base.adapter(path) as model:
        assert model.card is None
