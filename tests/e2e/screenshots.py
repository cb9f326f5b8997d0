"""The pictures in docs/: the interactive lab and the report, at two widths, light and dark.

Run as `python -m tests.e2e.screenshots` from the project's folder; it brings the lab up, and ends it. With the word `report`
only the report's are taken, of the recorded run, which needs no server; with the word `lab`, only those of the lab.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, FloatRect

from tests.e2e.browser import LabPage, launched
from tests.e2e.conftest import make_cli, web_ui
from wsgilab import commands

FOLDER = commands.PROJECT / "docs" / "screens"
RECORDED = commands.PROJECT / "tests" / "recorded" / "answer"
SIZES = {1280: 800, 400: 800}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TRIED = ("gunicorn-sync-4", "gunicorn-gthread-2x4", "gunicorn-gevent")
ROUNDS, SECONDS = 3, 7
"""How often, and for how long, each is tried before the picture of the last one is taken."""
LONGEST = 2000
"""Pixels of a picture."""


def take(browser: Browser, url: str, name: str, *, whole: bool) -> None:
    """One picture for each width and theme."""
    for width, height in SIZES.items():
        for theme in THEMES:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.add_init_script(f"localStorage.theme = {theme!r}")
            page.goto(url)
            page.locator("#lab [data-target]").first.wait_for()
            page.wait_for_timeout(1500)
            tall = min(LONGEST, int(page.evaluate("document.documentElement.scrollHeight"))) if whole else height
            clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": tall}
            page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=whole, clip=clip)
            page.close()


def take_report(browser: Browser, results: Path) -> None:
    """The report's beginning, and who ran when."""
    shutil.copytree(RECORDED, results / RECORDED.name)
    cli = make_cli("local", commands.workspace().state, results)
    cli.charts = True
    assert cli("lab.report", "--run", RECORDED.name).code == 0
    for width, height in SIZES.items():
        for theme in THEMES:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            page.goto((results / RECORDED.name / "report.html").as_uri())
            page.screenshot(path=FOLDER / f"report-top-{width}-{theme}.png")
            page.locator("section", has=page.locator("#timeline")).locator("figure").first.screenshot(
                path=FOLDER / f"report-{width}-{theme}.png"
            )
            page.close()


def main() -> None:
    """Take the pictures that are asked for."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if "lab" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder, launched() as browser:
            take_report(browser, Path(folder))
    if "report" not in sys.argv[1:]:
        take_lab()


def take_lab() -> None:
    """Bring the lab up, try some servers, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        cli = make_cli("local", commands.workspace().state, Path(folder))
        try:
            url = web_ui(cli, "--servers", ",".join(TRIED))
            take(browser, url, "form", whole=False)
            page = LabPage.open(browser, url)
            for server in TRIED * ROUNDS:
                page.start(server)
                page.expect_measuring(server)
                page.page.wait_for_timeout(SECONDS * 1000)
                page.stop()
            page.start(TRIED[-1])
            page.expect_measuring(TRIED[-1])
            page.page.wait_for_timeout(5 * SECONDS * 1000)
            take(browser, url, "tab", whole=True)
        finally:
            cli("lab.down")


if __name__ == "__main__":
    main()
