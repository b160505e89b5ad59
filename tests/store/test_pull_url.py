"""Pulling from an address: ranges only of the same content, bounds, redirects, bad answers."""

from __future__ import annotations

import functools
import hashlib

import httpx2
import pytest

from edgeslm.errors import PullError
from edgeslm.formats.files import silent
from edgeslm.store import fetch
from edgeslm.store.entry import UNVERIFIED, Entry, UrlSource
from edgeslm.store.store import Store
from tests.helpers.hub_server import HubServer

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def server(monkeypatch):
    served = HubServer(files={"m.gguf": DATA})
    running = served.start()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch, "sleep", lambda _: None)
    yield served
    running.shutdown()
    running.server_close()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def entry(server: HubServer, **changes) -> Entry:
    values = {
        "name": "m",
        "source": f"{server.url}/file/m.gguf?download=true",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
        "licence": "MIT",
    }
    return Entry(**{**values, **changes})


def give_up_after_a_drop(store: Store, wanted: Entry, server: HubServer, monkeypatch) -> None:
    server.drops, server.drop_after = 1, 300_000
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "ATTEMPTS", 1)
        with pytest.raises(PullError, match="it resumes"):
            store.pull(wanted)
    server.asked.clear()


def test_a_file_comes_whole(store, server):
    assert store.pull(entry(server)).read_bytes() == DATA
    (asked,) = server.asked
    assert asked.headers["accept-encoding"] == "identity"
    assert "authorization" not in asked.headers


def test_the_next_pull_resumes_if_the_content_is_the_same(store, server, monkeypatch):
    give_up_after_a_drop(store, entry(server), server, monkeypatch)
    assert store.pull(entry(server)).read_bytes() == DATA
    (asked,) = server.asked
    assert asked.status == 206
    assert asked.headers["range"] == "bytes=300000-"
    assert asked.headers["if-range"] == f'"{hashlib.md5(DATA).hexdigest()}"'


def test_content_that_changed_meanwhile_comes_from_its_start(store, server, monkeypatch):
    pinned = entry(server, sha256=UNVERIFIED, size=None)
    give_up_after_a_drop(store, pinned, server, monkeypatch)
    server.files["m.gguf"] = DATA[::-1]
    assert store.pull(pinned).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("change", [{"tag": ""}, {"weak": True}])
def test_without_a_strong_tag_nothing_is_resumed(store, server, monkeypatch, change):
    for name, value in change.items():
        setattr(server, name, value)
    give_up_after_a_drop(store, entry(server), server, monkeypatch)
    assert store.pull(entry(server)).read_bytes() == DATA
    assert "range" not in server.asked[0].headers


@pytest.mark.parametrize("note", ["{", "[]", '{"url": 1}', "{}"])
def test_a_damaged_note_means_a_new_start(store, server, monkeypatch, note):
    give_up_after_a_drop(store, entry(server), server, monkeypatch)
    (path,) = store.root.rglob("part.gguf.json")
    path.write_text(note)
    assert store.pull(entry(server)).read_bytes() == DATA


def test_a_beginning_longer_than_the_file_means_a_new_start(store, server, monkeypatch):
    pinned = entry(server, sha256=UNVERIFIED, size=None)
    give_up_after_a_drop(store, pinned, server, monkeypatch)
    (part,) = store.root.rglob("part.gguf")
    part.write_bytes(DATA + DATA)
    assert store.pull(pinned).read_bytes() == DATA
    assert server.asked[0].status == 416


def test_a_whole_file_that_was_not_yet_verified_is_not_fetched_again(store, server, monkeypatch):
    give_up_after_a_drop(store, entry(server), server, monkeypatch)
    (part,) = store.root.rglob("part.gguf")
    part.write_bytes(DATA)
    assert store.pull(entry(server)).read_bytes() == DATA
    assert server.asked == []


def test_without_a_length_the_count_is_still_checked(store, server):
    server.no_length = True
    assert store.pull(entry(server)).read_bytes() == DATA
    server.drops, server.drop_after = 9, 1000
    with pytest.raises(PullError, match=f"1000 bytes arrived, {len(DATA)} were expected"):
        store.pull(entry(server, name="n"))


def test_more_bytes_than_allowed_are_cut_off_and_gone(server, tmp_path):
    server.no_length = True
    target = tmp_path / "part"
    source = UrlSource(f"{server.url}/file/m.gguf")
    with pytest.raises(PullError, match="more bytes came than the 1000"):
        fetch.fetch(source, target, size=1000, progress=silent)
    assert not target.exists()


def test_another_length_is_refused_before_it_is_written(store, server):
    with pytest.raises(PullError, match="the registry names 1000"):
        store.pull(entry(server, size=1000))


def test_an_address_without_file_names_it(store, server):
    with pytest.raises(PullError, match=r"none\.gguf: the server answers 404; correct the source"):
        store.pull(entry(server, source=f"{server.url}/file/none.gguf"))


def mock(monkeypatch, handler) -> None:
    client = functools.partial(httpx2.Client, transport=httpx2.MockTransport(handler))
    monkeypatch.setattr(fetch.httpx2, "Client", client)


HTTPS = UrlSource("https://h.example/m.gguf")


def test_https_is_never_left(monkeypatch, tmp_path):
    asked = []

    def redirect(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(302, headers={"Location": "http://h.example/m.gguf"})

    mock(monkeypatch, redirect)
    with pytest.raises(PullError, match="not https"):
        fetch.fetch(HTTPS, tmp_path / "part", size=None, progress=silent)
    assert asked == [HTTPS.url]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx2.Response(302, headers={"Location": HTTPS.url}), "redirect"),
        (httpx2.Response(200, headers={"Content-Encoding": "br"}), "compressed"),
        (httpx2.Response(403), "needs permission"),
        (httpx2.Response(204), "answers 204"),
    ],
)
def test_strange_answers_are_one_clear_error(monkeypatch, tmp_path, response, words):
    mock(monkeypatch, lambda _: response)
    with pytest.raises(PullError, match=f"(?i){words}"):
        fetch.fetch(HTTPS, tmp_path / "part", size=None, progress=silent)


def test_no_route_is_told_after_a_bounded_number_of_attempts(monkeypatch, tmp_path):
    pauses = []
    monkeypatch.setattr(fetch, "sleep", pauses.append)

    def unreachable(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route to host")

    mock(monkeypatch, unreachable)
    with pytest.raises(PullError, match=r"no route to host; .*--from FILE"):
        fetch.fetch(HTTPS, tmp_path / "part", size=None, progress=silent)
    assert len(pauses) == fetch.ATTEMPTS - 1
    assert sum(pauses) < 5
