"""A real browser: Chromium, headless, at a page of the lab."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

SEEN_S = 60
"""How long something may take until it is seen, on a machine that has much else to do."""


def chromium() -> str:
    """Where Chromium is. Skips where there is none; fails instead where LAB_REQUIRE_BROWSER=1 promises one."""
    found = os.environ.get("LAB_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        return found
    if os.environ.get("LAB_REQUIRE_BROWSER") == "1":
        pytest.fail("LAB_REQUIRE_BROWSER=1, but there is no chromium on PATH")
    pytest.skip("no chromium on PATH; name one with LAB_CHROMIUM")


@contextlib.contextmanager
def launched(*options: str) -> Iterator[Browser]:
    expect.set_options(timeout=SEEN_S * 1000)
    with sync_playwright() as playwright:
        # No sandbox: tests may run as root, in a container. They open nothing but the lab.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *options])
        try:
            yield browser
        finally:
            browser.close()


def new_page(made_by: Browser | BrowserContext, **options: object) -> Page:
    """A page that waits for as long as `expect` does."""
    made = made_by.new_page(**options)  # type: ignore[arg-type]
    made.set_default_timeout(SEEN_S * 1000)
    return made


@dataclass(kw_only=True)
class LabPage:
    """Locust's page with the lab's tab, and what went on there."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    """Every host that was asked for anything."""
    errors: list[str] = field(default_factory=list)
    """What the page's scripts complained of."""

    @classmethod
    def open(cls, browser: Browser, url: str, **options: object) -> "LabPage":
        made = cls(page=new_page(browser, **options))
        made.page.on("request", lambda request: made.hosts.add(urlsplit(request.url).netloc))
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.on("console", lambda said: made.note(said.text) if said.type == "error" else None)
        made.page.goto(url)
        return made

    def note(self, error: str) -> None:
        """One on the console. A network of containers that comes or goes on this machine, such as another test's, ends what is being loaded."""
        if "net::ERR_NETWORK_CHANGED" not in error:
            self.errors.append(error)

    def open_form(self) -> Locator:
        """Have the form of a new test shown; its button."""
        again = self.page.get_by_role("button", name="New", exact=True)
        start = self.page.get_by_role("button", name="Start", exact=True)
        expect(again.or_(start).first).to_be_visible()
        if again.is_visible():
            again.click()
        return start

    def start(self, target: str, *, users: int = 32, workload: str = "sleep", connection: str = "close") -> None:
        """Fill in Locust's form and start a test, the first or another."""
        start = self.open_form()
        self.page.get_by_label("Number of users").fill(str(users))
        self.page.get_by_label("Ramp up").fill(str(users))
        for name, value in (("target", target), ("workload", workload), ("connection", connection)):
            box = self.page.locator(f"select[name={name}]")
            # Without a click: who does not see it cannot choose.
            expect(box).to_be_visible()
            box.select_option(value)
        start.click()

    def change(self, *, users: int | None = None, workload: str | None = None) -> None:
        """Change the test under way in Locust's form."""
        self.page.get_by_role("button", name="Edit", exact=True).click()
        if users is not None:
            self.page.get_by_label("Number of users").fill(str(users))
        if workload is not None:
            self.page.locator("select[name=workload]").select_option(workload)
        self.page.get_by_role("button", name="Update", exact=True).click()

    def stop(self) -> None:
        self.page.get_by_role("button", name="Stop", exact=True).click()
        expect(self.page.get_by_role("button", name="New", exact=True)).to_be_visible()

    def expect_measuring(self, server: str) -> None:
        """Until a test of `server` is under way and has settled."""
        expect(self.page.locator(f"[data-now][data-server={server}][data-phase=measuring]")).to_be_visible()

    def row(self, server: str) -> "Row":
        """The table's row of a server."""
        return Row(self.page, f"tr[data-server={server}]")


@dataclass(frozen=True)
class Row:
    """One row of what was tried."""

    page: Page
    selector: str

    def expect_peak(self, peak: int) -> None:
        """Until that is the most that was there at once: on a busy machine the first second may leave slots empty."""
        expect(self.page.locator(f"{self.selector} [data-figure=peak]")).to_have_text(str(peak))

    def figure(self, name: str) -> float:
        """A figure of it, when it is there."""
        cell = self.page.locator(f"{self.selector} [data-figure={name}]")
        expect(cell).to_be_visible()
        text = cell.inner_text().replace(",", "")
        return float(text.removesuffix("%"))
