"""`make docs`: builds the site of docs/; its links must hold, and it must load nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"

#: elements that a browser loads something for, and the attribute that says what
_LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "object": "data"}
#: links of a head that are for search engines alone
_NOT_LOADED = {"canonical", "next", "prev", "alternate"}
_CSS_URL = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])((?:https?:)?//[^)'"]+)""")


def main() -> int:
    """Build in strict mode: a page or an anchor that is linked and missing ends it."""
    SITE.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    faults = list(faults_of(SITE)) if status == 0 else []
    for fault in faults:
        print(fault, file=sys.stderr)
    if status == 0 and not faults:
        print(f"written: {SITE.relative_to(ROOT)}/index.html")
    return status or bool(faults)


def faults_of(site: Path) -> Iterator[str]:
    """What a page loads from the network, and links to files that the site does not have."""
    for path in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        for address in page.loaded:
            if urlsplit(address).netloc:
                yield f"{path.relative_to(site)} loads {address}"
        for address in page.loaded + page.linked:
            parts = urlsplit(address)
            below = site if parts.path.startswith("/") else path.parent
            target = below / unquote(parts.path).lstrip("/")
            if parts.path and not (parts.scheme or parts.netloc) and not target.exists():
                yield f"{path.relative_to(site)} has a link that leads nowhere: {address}"
    for path in sorted(site.rglob("*.css")):
        for match in _CSS_URL.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} loads {match[1]}"


class _Page(HTMLParser):
    """What a page loads, and what it links."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in values:
            self.linked.append(values["href"])
        attribute = _LOADS.get(tag)
        if attribute in values and values.get("rel") not in _NOT_LOADED:
            self.loaded.append(values[attribute])


if __name__ == "__main__":
    sys.exit(main())
