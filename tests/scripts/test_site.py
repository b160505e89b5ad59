"""The site of docs/: every page is in it, its links hold, and it loads nothing from the network."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import site

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def pages(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_of_docs_has_a_place_in_the_site():
    project = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]
    assert sorted(pages(project["nav"])) == sorted(p.name for p in (ROOT / "docs").glob("*.md"))


def test_the_index_leads_to_every_page():
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    others = {p.name for p in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(LINK.findall(text)) == others


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.name,
)
def test_relative_links_lead_to_files(path):
    links = [link for link in LINK.findall(path.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_what_a_page_loads_from_elsewhere_is_named(tmp_path):
    (tmp_path / "a.html").write_text(
        '<link rel="canonical" href="https://example.com/"><script src="//cdn.example/x.js">'
        '</script><img src="there.png"><a href="https://example.com/">x</a><a href="#y">y</a>'
        '<a href="gone.html#z">z</a>'
    )
    (tmp_path / "there.png").write_text("")
    (tmp_path / "a.css").write_text("@font-face{src:url(https://fonts.example/f.woff2)}")
    assert list(site.faults_of(tmp_path)) == [
        "a.html loads //cdn.example/x.js",
        "a.html has a link that leads nowhere: gone.html#z",
        "a.css loads https://fonts.example/f.woff2",
    ]


@pytest.mark.skipif(not importlib.util.find_spec("zensical"), reason="needs the extra docs")
def test_the_site_is_built():
    command = [sys.executable, "-m", "scripts.site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
