"""The pictures in docs/: the interactive lab at two widths, light and dark.

Run as `python -m tests.e2e.screenshots` from the project's folder; it brings the lab up, and ends it.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.e2e.browser import LabPage, launched
from tests.e2e.conftest import make_cli
from tests.e2e.test_ui import up
from wsgilab import lab

FOLDER = lab.PROJECT / "docs" / "screens"
SIZES = {1280: 800, 400: 800}
THEMES = ("light", "dark")
TRIED = (("gunicorn-sync-4", 8), ("gunicorn-gthread-2x4", 12), ("gunicorn-gevent", 12))
"""What is tried before the picture is taken, and for how many seconds."""


def take(browser: Browser, url: str, name: str, *, whole: bool) -> None:
    """One picture for each width and theme."""
    for width, height in SIZES.items():
        for theme in THEMES:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.add_init_script(f"localStorage.theme = {theme!r}")
            page.goto(url)
            page.locator("#lab [data-target]").first.wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=whole)
            page.close()


def main() -> None:
    """Bring the lab up, try some servers, and take the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        cli = make_cli("local", lab.places().state, Path(folder))
        try:
            url = up(cli)
            take(browser, url, "form", whole=False)
            page = LabPage.open(browser, url)
            for server, seconds in TRIED:
                page.start(server)
                page.expect_measuring(server)
                page.page.wait_for_timeout(seconds * 1000)
                if server == TRIED[-1][0]:
                    take(browser, url, "tab", whole=True)
                page.stop()
        finally:
            cli("lab.down")


if __name__ == "__main__":
    main()
