"""Pulling from a hub: whole, resumed, refused, offline, and killed, against a local server."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import pytest

from edgeslm.errors import HashMismatchError, PullError
from edgeslm.store import fetch
from edgeslm.store.entry import UNVERIFIED, Entry
from edgeslm.store.store import Store
from tests.helpers.hub_server import COMMIT, HubServer

DATA = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(DATA).hexdigest()
FILE = "o/r/sub/m.gguf"


@pytest.fixture
def hub(monkeypatch):
    served = HubServer(files={FILE: DATA})
    server = served.start()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch, "sleep", lambda _: None)
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def entry(**changes) -> Entry:
    values = {
        "name": "m",
        "source": "hf:o/r/sub/m.gguf@main",
        "sha256": SHA256,
        "size": len(DATA),
        "licence": "MIT",
    }
    return Entry(**{**values, **changes})


def test_a_file_comes_whole_from_the_commit_that_the_branch_names(store, hub):
    told = []
    path = store.pull(entry(), progress=lambda *args: told.append(args))
    assert path.read_bytes() == DATA
    assert ("downloading", len(DATA), len(DATA)) in told
    assert [asked.path for asked in hub.gets("/resolve/")] == [f"/o/r/resolve/{COMMIT}/sub/m.gguf"]
    assert {asked.path for asked in hub.asked if "/api/" in asked.path} == set()


def test_the_token_goes_to_the_hub_and_nowhere_else(store, hub):
    store.pull(entry())
    (resolved,), (content,) = hub.gets("/resolve/"), hub.gets("/cdn/")
    assert resolved.headers["authorization"] == "Bearer hf_secret"
    assert "authorization" not in content.headers


def test_a_second_pull_asks_nobody(store, hub):
    store.pull(entry())
    hub.asked.clear()
    store.pull(entry())
    assert hub.asked == []


def test_a_dropped_connection_goes_on_where_it_stopped(store, hub):
    hub.drops, hub.drop_after = 3, 300_000
    assert store.pull(entry()).read_bytes() == DATA
    starts = [asked.headers.get("range", "bytes=0-") for asked in hub.gets("/cdn/")]
    assert starts == ["bytes=0-", "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_drops_that_bring_bytes_never_exhaust_the_attempts(store, hub):
    hub.drops, hub.drop_after = 3 * fetch.ATTEMPTS, 100_000
    assert store.pull(entry()).read_bytes() == DATA


def test_a_pull_that_gave_up_is_resumed_by_the_next(store, hub):
    hub.drops, hub.drop_after = 1, 500_000

    def fail_after_the_drop(_seconds):
        hub.fails = 100

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "sleep", fail_after_the_drop)
        with pytest.raises(PullError, match=r"503.*it resumes"):
            store.pull(entry())
    hub.fails = 0
    hub.asked.clear()
    assert store.pull(entry()).read_bytes() == DATA
    assert [asked.headers.get("range") for asked in hub.gets("/cdn/")] == ["bytes=500000-"]
    assert not (store.root / "models" / "m" / "incoming").exists()


def test_the_beginning_of_another_file_is_not_resumed(store, hub):
    hub.drops, hub.drop_after = 1, 500_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "ATTEMPTS", 1)
        with pytest.raises(PullError):
            store.pull(entry(sha256=UNVERIFIED, size=None))
    hub.files[FILE] = DATA[::-1]
    assert store.pull(entry(sha256=UNVERIFIED, size=None)).read_bytes() == DATA[::-1]
    assert "range" not in hub.gets("/cdn/")[-1].headers


def test_a_server_without_ranges_sends_it_all_again(store, hub):
    hub.drops, hub.drop_after, hub.ranges = 1, 300_000, False
    assert store.pull(entry()).read_bytes() == DATA


def test_busy_answers_are_tried_again_a_bounded_number_of_times(store, hub):
    hub.fails = fetch.ATTEMPTS - 1
    assert store.pull(entry()).read_bytes() == DATA
    hub.fails = fetch.ATTEMPTS
    with pytest.raises(PullError, match="answers 503"):
        store.pull(entry(name="n"))


def test_another_hash_is_refused_and_nothing_stays(store, hub):
    with pytest.raises(HashMismatchError, match=SHA256):
        store.pull(entry(sha256="0" * 64))
    left = [path.name for path in store.root.rglob("*") if path.is_file()]
    assert left == ["lock"]


def test_content_that_differs_from_what_the_hub_announced_is_refused(store, hub):
    hub.announced = "0" * 64
    with pytest.raises(HashMismatchError, match="announced 0000"):
        store.pull(entry(sha256=UNVERIFIED, size=None))


def test_another_size_is_refused_before_a_byte_comes(store, hub):
    with pytest.raises(PullError, match=f"{len(DATA)} bytes, the registry names 7"):
        store.pull(entry(size=7))
    assert hub.gets("/cdn/") == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:o/r/none.gguf@main", "no file 'none.gguf'"),
        ("hf:o/r/sub/m.gguf@v9", "no revision 'v9'"),
        ("hf:o/absent/m.gguf@main", "does not exist, or is private"),
        ("hf:o/-r/m.gguf@main", "o/-r"),
    ],
)
def test_what_the_hub_does_not_have_is_named(store, hub, source, words):
    with pytest.raises(PullError, match=words):
        store.pull(entry(source=source))


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_how_to_get_it(store, hub, status):
    hub.gated = status
    with pytest.raises(PullError, match=r"m: o/r .*gated; accept its terms.*HF_TOKEN"):
        store.pull(entry())


def test_offline_is_said_before_any_request(store, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PullError, match=r"HF_HUB_OFFLINE.*--from FILE"):
        store.pull(entry())
    assert hub.asked == []


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://[", "nonsense"])
def test_no_server_there_is_one_clear_error(store, hub, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(PullError, match=r"cannot be reached.*--from FILE"):
        store.pull(entry())


_PULL = """
import sys
from pathlib import Path
from edgeslm.store.entry import Entry
from edgeslm.store.store import Store
Store(Path(sys.argv[1])).pull(Entry.model_validate_json(sys.argv[2]))
"""


def start_pull(store: Store, wanted: Entry) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _PULL, str(store.root), wanted.model_dump_json()]
    return subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.PIPE)


def test_killed_downloads_leave_the_old_and_are_resumed(store, hub):
    old = DATA[:100]
    hub.files[FILE] = old
    store.pull(entry(sha256=hashlib.sha256(old).hexdigest(), size=None))
    hub.files[FILE] = DATA
    hub.asked.clear()
    hub.pause = 0.03
    for kill in (1, 2):
        process = start_pull(store, entry())
        deadline = time.monotonic() + 20
        part = store.root / "models" / "m" / "incoming" / "part.gguf"
        while len(hub.gets("/cdn/")) < kill or not (part.is_file() and part.stat().st_size):
            assert time.monotonic() < deadline, "the pull did not start"
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert store.resolve("m").read_bytes() == old
    hub.pause = 0
    assert store.pull(entry()).read_bytes() == DATA
    assert all("range" in asked.headers for asked in hub.gets("/cdn/")[1:])
    assert not part.parent.exists()
    assert store.rollback("m").read_bytes() == old


def test_two_processes_download_once(store, hub):
    hub.pause = 0.01
    both = [start_pull(store, entry()) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert store.resolve("m").read_bytes() == DATA
    assert len(hub.gets("/cdn/")) == 1
