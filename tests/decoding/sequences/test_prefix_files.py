"""The files of saved prefixes: no damaged byte is used, and processes share a bounded folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeslm.decoding.sequences import prefix_files
from edgeslm.decoding.sequences.prefix_files import MIN_TOKENS, PrefixCache, Weights, used_bytes
from edgeslm.store.store import Store
from tests.helpers.engines import tokens_of
from tests.helpers.killed import dies_at

WEIGHTS = "a" * 64
IDENTITY = {"engine": "one", "gpu": []}
TOKENS = tokens_of(100)
STATE = bytes(range(256)) * 2
ROOT = Path(__file__).resolve().parents[3]


def cache_in(
    folder: Path,
    *,
    limit: int = 10**9,
    weights: str = WEIGHTS,
    **identity: object,
) -> PrefixCache:
    known = Weights(Path("model.gguf"), weights)
    return PrefixCache(folder, limit, known, {**IDENTITY, **identity})


def names(folder: Path, pattern: str = "*.prefix") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def put(cache: PrefixCache, tokens: list[int] = TOKENS, state: bytes = STATE) -> None:
    cache.put(tokens, lambda: state)


def model_file(path: Path, content: bytes, age: float = 100) -> Path:
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


# --- the file -------------------------------------------------------------------------------


def test_what_was_put_comes_back_also_in_another_process(tmp_path: Path) -> None:
    assert cache_in(tmp_path / "new").get(TOKENS) is None
    put(cache_in(tmp_path / "new"))
    assert cache_in(tmp_path / "new").get(TOKENS) == STATE
    cache_in(tmp_path / "new").drop(TOKENS)
    assert cache_in(tmp_path / "new").get(TOKENS) is None


def test_what_is_kept_is_not_saved_again(tmp_path: Path) -> None:
    put(cache_in(tmp_path))
    cache_in(tmp_path).put(TOKENS, lambda: pytest.fail("saved again"))


def test_no_flipped_cut_or_added_byte_gives_a_state(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    damaged = [data[:length] for length in range(len(data))]
    damaged += [data + b"\0", data + data, b"", b"\0" * len(data)]
    for at, byte in enumerate(data):
        damaged.append(data[:at] + bytes([byte ^ 1 << at % 8]) + data[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert cache.get(TOKENS) is None
        assert not path.exists()
    put(cache)
    assert cache.get(TOKENS) == STATE


def test_a_file_of_another_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path)
    with monkeypatch.context() as older:
        older.setattr(prefix_files, "FORMAT", 0)
        put(cache, state=b"in another form")
        assert cache.get(TOKENS) == b"in another form"
    assert cache.get(TOKENS) is None
    put(cache)
    assert cache.get(TOKENS) == STATE


def test_a_state_belongs_to_one_adapter(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    states: dict[str | None, bytes] = {None: b"none", "a" * 64: b"of a", "b" * 64: b"of b"}
    for adapter, state in states.items():
        assert cache.get(TOKENS, adapter=adapter) is None
        cache.put(TOKENS, lambda state=state: state, adapter=adapter)  # type: ignore[misc]
    cache.drop(TOKENS, adapter="b" * 64)
    kept = {adapter: cache.get(TOKENS, adapter=adapter) for adapter in states}
    assert kept == {**states, "b" * 64: None}


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"weights": "b" * 64}, TOKENS),
        ({"engine": "another"}, TOKENS),
        ({"gpu": [-1, "GPU"]}, TOKENS),
        ({}, TOKENS[:-1]),
        ({}, [*TOKENS[:-1], 4]),
    ],
)
def test_a_state_of_anything_else_is_not_used(
    tmp_path: Path, changes: dict[str, Any], tokens: list[int]
) -> None:
    put(cache_in(tmp_path))
    (path,) = tmp_path.iterdir()
    other = cache_in(tmp_path, **changes)
    assert other.get(tokens) is None
    put(other, tokens, b"other")
    (theirs,) = set(tmp_path.iterdir()) - {path}
    path.replace(theirs)  # a foreign file under this name
    assert other.get(tokens) is None
    assert list(tmp_path.iterdir()) == []


# --- the folder -----------------------------------------------------------------------------


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, limit=5500)
    prompts = [tokens_of(MIN_TOKENS, start) for start in range(4)]
    for age, tokens in enumerate(prompts[:3]):
        before = set(names(tmp_path))
        put(cache, tokens, bytes(1000))
        (new,) = set(names(tmp_path)) - before
        long_ago = time.time() - 1000 + age
        os.utime(tmp_path / new, (long_ago, long_ago))
    assert cache.get(prompts[0]) is not None
    put(cache, prompts[3], bytes(2000))
    assert [cache.get(tokens) is None for tokens in prompts] == [False, True, False, False]
    assert used_bytes(tmp_path) <= 5500
    put(cache, prompts[1], bytes(6000))  # more than all: it replaces nothing
    assert [cache.get(tokens) is None for tokens in prompts] == [False, True, False, False]


def test_only_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left, fresh, foreign = (tmp_path / name for name in ("left.part", "fresh.part", "mine.txt"))
    for path in (left, fresh, foreign):
        path.write_bytes(bytes(100))
    for path in (left, foreign):
        os.utime(path, (0, 0))
    put(cache_in(tmp_path, limit=1600))
    assert {path.name for path in tmp_path.iterdir()} == {
        "fresh.part", "mine.txt", *names(tmp_path),
    }  # fmt: skip


@pytest.mark.parametrize("below", ["", "below"])
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = cache_in(tmp_path / "file" / below)
    put(cache)
    assert cache.get(TOKENS) is None
    path = model_file(tmp_path / "m.gguf", b"weights")
    assert Weights(path).sha256(tmp_path / "file" / below) is None


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    put(cache_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among its files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    put(cache_in(tmp_path))
    (path,) = tmp_path.iterdir()
    path.unlink()
    os.mkfifo(path)
    assert cache_in(tmp_path).get(TOKENS) is None
    put(cache_in(tmp_path))
    assert cache_in(tmp_path).get(TOKENS) == STATE


_FILE_CALLS = {"open", "write", "writelines", "mkstemp", "fdopen", "fsync", "close", "replace"}


def _put_and_die(folder: Path, step: int) -> bool:
    return dies_at(step, _FILE_CALLS, lambda: put(cache_in(folder), state=STATE * 1000))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_while_writing_it_is_whole_or_not_there(tmp_path: Path) -> None:
    outcomes = []
    step = 1
    put(cache_in(tmp_path / "warm"))  # what the child would spend steps on
    while _put_and_die(tmp_path / str(step), step):
        outcomes.append(cache_in(tmp_path / str(step)).get(TOKENS))
        assert outcomes[-1] in (None, STATE * 1000)
        put(cache_in(tmp_path / str(step)))
        assert cache_in(tmp_path / str(step)).get(TOKENS) in (STATE, STATE * 1000)
        step += 1
    assert outcomes.count(None) >= 4, "the hook does not see the calls that write"
    assert STATE * 1000 in outcomes


_BOTH = """
import random, sys
from pathlib import Path
from tests.decoding.sequences.test_prefix_files import cache_in, tokens_of
cache = cache_in(Path(sys.argv[1]), limit=400_000)
for turn in range(60):
    start = random.randrange(6)
    state = bytes([start]) * 100_000
    found = cache.get(tokens_of(80, start))
    assert found in (None, state), (turn, start, len(found))
    cache.put(tokens_of(80, start), lambda: state)
"""


def test_two_processes_share_the_folder(tmp_path: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", _BOTH, str(tmp_path)], cwd=ROOT, stderr=-1)
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert names(tmp_path, "*.part") == []
    assert 0 < used_bytes(tmp_path) <= 500_000  # each may have made room for the same 100,000


# --- the hash of the weights ----------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed."""
    paths = []
    real = prefix_files.file_sha256

    def note(path: Path) -> str:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(prefix_files, "file_sha256", note)
    return paths


def test_a_file_is_hashed_once(tmp_path: Path, hashed: list[Path]) -> None:
    path = model_file(tmp_path / "m.gguf", b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    for _ in range(3):
        assert Weights(path).sha256(tmp_path / "cache") == expected
    assert hashed == [path]
    model_file(path, b"changed", age=50)
    assert Weights(path).sha256(tmp_path / "cache") == hashlib.sha256(b"changed").hexdigest()


def test_what_was_just_written_is_hashed_each_time(tmp_path: Path, hashed: list[Path]) -> None:
    path = model_file(tmp_path / "m.gguf", b"weights", age=0)
    for _ in range(2):
        assert Weights(path).sha256(tmp_path / "cache")
    assert len(hashed) == 2


def test_a_damaged_memory_of_a_hash_is_made_anew(tmp_path: Path, hashed: list[Path]) -> None:
    path = model_file(tmp_path / "m.gguf", b"weights")
    expected = Weights(path).sha256(tmp_path / "cache")
    (memo,) = (tmp_path / "cache").iterdir()
    for content in (b"", b"x" * 64, b"a" * 65, b"a" * 63):
        memo.write_bytes(content)
        assert Weights(path).sha256(tmp_path / "cache") == expected
    assert len(hashed) == 5


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_replaced_since_it_was_loaded_has_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = model_file(tmp_path / "m.gguf", b"weights")
    loaded = Weights(path)

    def replace(of: Path) -> str:
        model_file(of, b"other", age=30)
        return "b" * 64

    if when == "before":
        replace(path)
    else:
        monkeypatch.setattr(prefix_files, "file_sha256", replace)
    assert loaded.sha256(tmp_path / "cache") is None
    put(PrefixCache(tmp_path / "cache", 10**6, loaded, IDENTITY))
    assert names(tmp_path / "cache", "*") == []


def test_a_short_prompt_is_neither_kept_nor_hashed_for(tmp_path: Path, hashed: list[Path]) -> None:
    path = model_file(tmp_path / "m.gguf", b"weights")
    cache = PrefixCache(tmp_path / "cache", 10**6, Weights(path), IDENTITY)
    cache.put(tokens_of(MIN_TOKENS - 1), lambda: pytest.fail("saved"))
    assert cache.get(tokens_of(MIN_TOKENS - 1)) is None
    assert hashed == []
    put(cache, tokens_of(MIN_TOKENS))
    assert hashed == [path]


def test_the_store_knows_the_hash_of_what_was_pulled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pulled = tmp_path / "models" / "m" / f"{WEIGHTS}.gguf"
    assert store.sha256_of(pulled) == WEIGHTS
    assert store.sha256_of(tmp_path / f"{WEIGHTS}.gguf") is None
    assert store.sha256_of(pulled.with_name("m.gguf")) is None
