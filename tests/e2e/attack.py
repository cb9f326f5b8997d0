"""A page of somebody else's, in the browser of somebody who has the lab up, and all that such a page can try."""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from playwright.sync_api import Page

from tests.serving import Silent, serving

ELSEWHERE = "<!doctype html><title>somebody else's</title>"
ATTACK = """
async ([there, changing, form]) => {
  const read = [];
  const tries = async (path, options) => {
    try {
      const answer = await fetch(there + path, { signal: AbortSignal.timeout(5000), ...options });
      if (answer.type !== "opaque") read.push([path, answer.status, await answer.text()]);
    } catch {}
  };
  for (const path of ["/", "/lab", "/lab/figures", "/stats/requests", "/logs", "/exceptions", "/tasks"]) {
    await tries(path);
  }
  const body = () => new URLSearchParams(form);
  for (const path of changing) {
    await tries(path, { method: "POST", body: body() });
    await tries(path, { method: "POST", body: body(), mode: "no-cors" });
    await tries(path, { method: "POST", body: JSON.stringify(form), headers: { "Content-Type": "application/json" } });
    navigator.sendBeacon(there + path, body());
  }
  for (const [kind, path] of [["img", "/stop"], ["img", "/stats/reset"], ["script", "/stats/requests"], ["iframe", "/"]]) {
    const made = document.createElement(kind);
    const ended = new Promise((done) => setTimeout((made.onload = made.onerror = done), 5000));
    made.src = there + path;
    document.body.append(made);
    await ended;
    try {
      if (kind === "iframe") read.push([path, 0, made.contentDocument.body.innerText]);
    } catch {}
  }
  return read;
}
"""
POST_A_FORM = """
([action, fields]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = action;
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
}
"""
CHANGING = ("/swarm", "/stop", "/stats/reset", "/lab/start-again/gunicorn-gevent")


def attack(page: Page, url: str, there: str, form: Mapping[str, str], *, hidden: bool) -> list[tuple[str, int, str]]:
    """Have a page of `url` try; what it read: path, status (0: in a frame) and text. `hidden`: also one that keeps back whose it is."""
    origins = (url, f"data:text/html,{ELSEWHERE}") if hidden else (url,)
    for path, origin in itertools.product(CHANGING, origins):
        page.goto(origin)
        with page.expect_navigation() as answer:
            page.evaluate(POST_A_FORM, [there + path, form])
        assert answer.value.status == HTTPStatus.FORBIDDEN, (path, origin)
    page.goto(url)
    return [(path, status, text) for path, status, text in page.evaluate(ATTACK, [there, CHANGING, form])]


@contextlib.contextmanager
def web_site(folder: Path) -> Iterator[int]:
    """Somebody else's; its port."""
    with serving(functools.partial(SilentFiles, directory=str(folder))) as port:
        yield port


class SilentFiles(Silent, SimpleHTTPRequestHandler): ...
