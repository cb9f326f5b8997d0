"""`docs/build.py` says what is wrong with a site: links that lead nowhere, pages without a place, and what other hosts would give."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from docs import build

NAV = '[project]\nnav = [{ A = "index.md" }, { B = ["contributing.md", "changes.md", { C = "one.md" }] }]\n'
CHECKOUT = {
    "README.md": "[one](docs/one.md#part), [an example](deploy/a.yaml)",
    "CONTRIBUTING.md": "`[code](gone.md)`\n\n```text\n[more](gone.md)\n```\n",
    "CHANGELOG.md": "[elsewhere](https://example.org/)",
    "docs/one.md": '[back](../README.md), [`code`](#part), <img src="a.png">, ![b](plots/b.svg)',
    "docs/zensical.toml": NAV,
    "docs/a.png": "a picture",
    "docs/plots/b.svg": "a picture",
    "deploy/a.yaml": "a: 1",
}


def laid_out(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder.resolve()


def test_links_lead_to_the_same_in_the_site_as_in_the_checkout(tmp_path: Path) -> None:
    project = laid_out(tmp_path / "project", CHECKOUT)
    assert build.stage(project, tmp_path / "pages") == []
    made = {str(file.relative_to(tmp_path / "pages")): file.read_text() for file in (tmp_path / "pages").rglob("*.*")}
    assert made == {
        "index.md": "[one](one.md#part), [an example](files/deploy/a.yaml)",
        "contributing.md": CHECKOUT["CONTRIBUTING.md"],
        "changes.md": CHECKOUT["CHANGELOG.md"],
        "one.md": '[back](index.md), [`code`](#part), <img src="a.png">, ![b](plots/b.svg)',
        "a.png": "a picture",
        "plots/b.svg": "a picture",
        "files/deploy/a.yaml": "a: 1",
    }


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("README.md", "[one](docs/two.md)", "README.md: docs/two.md is no file of the checkout"),
        ("docs/one.md", '<source srcset="b.png">', "docs/one.md: b.png is no file of the checkout"),
        ("docs/one.md", "[out](../../secret)", "docs/one.md: ../../secret is no file of the checkout"),
        ("docs/two.md", "", "docs/zensical.toml: two.md has no place in nav"),
        ("docs/zensical.toml", NAV.replace("one.md", "1.md"), "docs/zensical.toml: 1.md is no page"),
    ],
)
def test_what_is_wrong_with_a_page_is_said(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / "secret").write_text("")
    project = laid_out(tmp_path / "project", CHECKOUT | {name: text})
    assert problem in build.stage(project, tmp_path / "pages")


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="b.html#part">', None),
        ('<a href="sub/">', None),
        ('<a href="/b.html?q#part">', None),
        ('<a href="#own"><p id="own">', None),
        ('<a href="https://example.org/a">, <a href="mailto:a@example.org">, <img src="data:,">', None),
        ('<a href="c.html">', "a.html: c.html leads nowhere"),
        ('<a href="../outside.html">', "a.html: ../outside.html leads nowhere"),
        ('<a href="b.html#gone">', "a.html: b.html#gone leads to no section"),
        ('<a href="#gone">', "a.html: #gone leads to no section"),
        ('<source srcset="b.html 1x, gone.png 2x">', "a.html: gone.png leads nowhere"),
        ('<script src="https://example.org/a.js">', "a.html: <script> loads https://example.org/a.js"),
        ('<link href="//example.org/a.css">', "a.html: <link> loads //example.org/a.css"),
    ],
)
def test_what_a_built_page_leads_to_is_there_and_nothing_is_loaded_from_elsewhere(
    tmp_path: Path, html: str, problem: str | None
) -> None:
    pages = {"a.html": html, "b.html": '<h1 id="part">', "sub/index.html": "", "../outside.html": ""}
    assert build.broken(laid_out(tmp_path / "site", pages)) == ([problem] if problem else [])


def test_a_sheet_that_loads_a_font_is_noticed(tmp_path: Path) -> None:
    css = "a { background: url(data:,) url('b.svg') } @font-face { src: url(https://example.org/a.woff2) }"
    assert build.broken(laid_out(tmp_path, {"a.css": css})) == ["a.css: loads https://example.org/a.woff2"]


def test_what_the_generator_complains_of_is_a_line_each() -> None:
    output = (
        "\x1b[33mWarning:\x1b[0m anchor does not exist\n    \x1b[38;5;246m╭─[\x1b[0m start.md:73:16 \x1b[38;5;246m]\x1b[0m\n"
        "  73 │ [a](reading.md#gone)\n1 issue found\nTraceback (most recent call last):\n"
    )
    assert build.complaints(output) == ["start.md:73:16: anchor does not exist"]
    assert build.complaints("Error: no\nsuch theme\n") == ["Error: no", "such theme"]
