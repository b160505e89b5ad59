"""Chromium without a screen, asked over a pipe: what a page looks like and says at some width."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: where a test that cannot have a browser fails instead of being skipped
REQUIRED = "EDGESLM_REQUIRE_BROWSER"
SECONDS = 60


def chromium() -> str:
    """The program; without one the test is skipped, or fails where a browser is required."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    reason = "no Chromium; on Debian: apt-get install chromium"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, and there is {reason}")
    pytest.skip(reason)


class Browser:
    """One page of a browser that runs. Answers and events come in one stream, parted by zeros."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest = read, write, b""
        self._numbers = itertools.count(1)
        self._session: dict = {}
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Show a file at a width; ``complaints`` has what the console says of it."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints.clear()
        self.call("Page.navigate", url=path.absolute().as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str):
        """The value of a script on the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            codes = {"Tab": 9, "Enter": 13}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key]
            )

    def screenshot(self, path: Path) -> None:
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def call(self, method: str, **parameters):
        number = next(self._numbers)
        told = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _next(self) -> dict:
        late = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, late - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(line)
        self._listen(told.get("method"), told.get("params", {}))
        return told

    def _listen(self, method: str | None, told: dict) -> None:
        if method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.complaints.append(f"asks for {url}")


@contextmanager
def browser(profile: Path):
    """A browser with a profile of its own in this folder."""
    program = chromium()
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
        *("--remote-debugging-pipe", f"--user-data-dir={profile}"),
    ]
    # the pipe is at descriptors 3 and 4, which may be taken here
    script = f'exec "$@" 3<&{to_it} 4>&{from_it}'
    command = ["bash", "-c", script, "bash", program, *options]
    quiet = subprocess.DEVNULL
    fds = (to_it, from_it)
    with subprocess.Popen(command, pass_fds=fds, stdout=quiet, stderr=quiet) as process:
        try:
            os.close(to_it)
            os.close(from_it)
            yield Browser(theirs, ours)
        finally:
            os.close(ours)  # it ends where nobody asks any more
            os.close(theirs)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
