"""Build the documentation as a site, in the folder `site`: README.md, CONTRIBUTING.md, CHANGELOG.md and the pages of `docs/`.

`python -m docs.build` does that; with `--check` the site is thrown away. `docs/zensical.toml` has the order of the pages. It
fails where a link leads nowhere (to a page, a section, a picture or a file of the checkout), where a page is not in the order,
and where a page would load anything from another host.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PROJECT = Path(__file__).resolve().parents[1]
SITE = PROJECT / "site"
NAMES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""The pages outside of `docs/` -> what the site calls them."""
FILES = "files"
"""The folder of the site for what pages link to outside of `docs/`, such as examples."""

_PART = re.compile(
    r"^ *(?P<fence>`{3,}).*?^ *(?P=fence)`*$"
    r"|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r'|(?P<before>\]\(|\b(?:src|srcset)=")(?P<target>[^)"\s]+)',
    re.MULTILINE | re.DOTALL,
)
"""Code, in which nothing is a link; or the beginning of a link or picture, and where it leads."""
_COMPLAINT = re.compile(r"^Warning: (.*)\n\W*\[ (\S+) \]$", re.MULTILINE)
_FROM_AFAR = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")


def pages(project: Path) -> Mapping[Path, str]:
    """Each page's file -> its name in the site."""
    found = {project / name: placed for name, placed in NAMES.items()}
    return found | {file: file.name for file in sorted((project / "docs").glob("*.md"))}


def stage(project: Path, folder: Path) -> Sequence[str]:
    """Lay out in `folder` what the generator makes the site of. Returns what is wrong with links and with the order, a line each."""
    problems: list[str] = []
    known = pages(project)
    for file, name in known.items():

        def placed(found: re.Match[str], file: Path = file) -> str:
            target = found["target"]
            if target is None:
                return found[0]
            path, mark, section = target.partition("#")
            if not path or urlsplit(path).scheme:
                return found[0]
            there = (file.parent / path).resolve()
            if not there.is_file() or not there.is_relative_to(project):
                problems.append(f"{file.relative_to(project)}: {target} is no file of the checkout")
                return found[0]
            return f"{found['before']}{known.get(there) or _copied(project, there, folder)}{mark}{section}"

        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_PART.sub(placed, file.read_text()))
    ordered = list(_leaves(tomllib.loads((project / "docs" / "zensical.toml").read_text())["project"]["nav"]))
    problems += [f"docs/zensical.toml: {name} is no page" for name in ordered if name not in known.values()]
    problems += [f"docs/zensical.toml: {name} has no place in nav" for name in known.values() if name not in ordered]
    return problems


def _copied(project: Path, file: Path, folder: Path) -> str:
    """Copies a picture, or another file that a page links to. Returns its place in the site."""
    inside = file.relative_to(project)
    place = inside.relative_to("docs") if inside.is_relative_to("docs") else FILES / inside
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / place)
    return place.as_posix()


def _leaves(entry: Any) -> Iterator[str]:
    """The pages of `nav`, in its order."""
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, Mapping) else entry:
            yield from _leaves(each)


class _Page(HTMLParser):
    """What a page has and wants: `names` of its sections, and `wanted`, pairs of an element and an address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.wanted: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id" and value:
                self.names.add(value)
            elif key in ("href", "src", "data", "poster") and value:
                self.wanted.append((tag, value.strip()))
            elif key == "srcset" and value:
                self.wanted += [(tag, each.split()[0]) for each in value.split(",")]


def broken(site: Path) -> Sequence[str]:
    """What leads nowhere in a built site, and what would be loaded from another host, a line each."""
    site = site.resolve()
    found = {file: _Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    problems = [
        f"{file.relative_to(site)}: {problem}"
        for file, page in found.items()
        for tag, address in page.wanted
        if (problem := _problem(site, found, file, tag, address))
    ]
    for sheet in sorted(site.rglob("*.css")):
        problems += [f"{sheet.relative_to(site)}: loads {each}" for each in _FROM_AFAR.findall(sheet.read_text())]
    return problems


def _problem(site: Path, found: Mapping[Path, _Page], file: Path, tag: str, address: str) -> str | None:
    parts = urlsplit(address)
    if parts.netloc:
        return None if tag == "a" else f"<{tag}> loads {address}"
    if parts.scheme:
        return None
    there = file
    if parts.path:
        # One that begins with a slash is of the site.
        there = ((site if parts.path.startswith("/") else file.parent) / unquote(parts.path).lstrip("/")).resolve()
    if there.is_dir():
        there /= "index.html"
    if not there.is_relative_to(site) or not there.is_file():
        return f"{address} leads nowhere"
    if parts.fragment and there in found and unquote(parts.fragment) not in found[there].names:
        return f"{address} leads to no section"
    return None


def build(project: Path, folder: Path) -> Sequence[str]:
    """Build the site in the folder `site` of `folder`, which is empty. Returns what is wrong, a line each."""
    problems = stage(project, folder / "pages")
    if problems:
        return problems
    shutil.copyfile(project / "docs" / "zensical.toml", folder / "zensical.toml")
    for name in ("site.css", "iframe-worker.js"):
        shutil.copy(project / "docs" / name, folder / "pages")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    made = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if made.returncode:
        return complaints(made.stdout + made.stderr)
    return broken(folder / "site")


def complaints(output: str) -> Sequence[str]:
    """What the generator complains of, a line each; all that it printed where there is nothing of the kind."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [f"{place}: {what}" for what, place in _COMPLAINT.findall(plain)] or plain.splitlines()


def main(*, check: bool) -> int:
    """Build the site; without `check` it takes the place of the one before. Returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        problems = build(PROJECT, Path(name))
        print(*problems, sep="\n", file=sys.stderr)
        if problems:
            return 1
        if not check:
            shutil.rmtree(SITE, ignore_errors=True)
            shutil.move(Path(name) / "site", SITE)
            print(f"Written; open {SITE.name}/index.html.")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
