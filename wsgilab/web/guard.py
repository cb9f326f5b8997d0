"""Which requests the web UI answers: those to one of its own names that do not come from another site's page.

A browser sends the name that it used in `Host`, and the page that made the request in `Origin` and `Sec-Fetch-Site` (RFC
6454, section 7; W3C, Fetch Metadata Request Headers). A page of another site can make a browser send any request to any
address, also by a name of that site's own that resolves to this machine (DNS rebinding). Other programs can send whatever
headers they like: the address that is bound and the login keep those out.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PAGES = frozenset({"/", "/lab", "/login"})
"""The pages that a link on another site may lead to."""
ALWAYS = (
    # Another site's page must not show its buttons in a frame, for a click that is meant for something else.
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
)
_ANY_ORIGIN = "access-control-"
_OTHER_NAME = "this web UI has another name: open it at localhost, or at the address or name that was given with --host"
_OTHER_SITE = "the request comes from a page of another site"


class Guard:
    """A WSGI application that passes on the permitted requests, and keeps other sites from reading the answers."""

    def __init__(self, app: WSGIApplication, names: Collection[str]) -> None:
        """`names`: host names and addresses that `app` is reached by, beside those of loopback, each without a port.

        With 0.0.0.0 or :: among them every address counts: unlike a name, it cannot be made to resolve to another machine.
        """
        self._app = app
        self._names = {_plain(name) for name in names}
        self._any_address = any(each is not None and each.is_unspecified for each in map(_address, self._names))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            body = f"{refusal}\n".encode()
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *ALWAYS]
            start_response(f"{HTTPStatus.FORBIDDEN.value} {HTTPStatus.FORBIDDEN.phrase}", headers)
            return [body]

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            # Locust lets every origin read everything.
            kept = [each for each in headers if not each[0].lower().startswith(_ANY_ORIGIN)]
            return start_response(status, [*kept, *ALWAYS], *error)

        return self._app(environ, start)

    def _refusal(self, environ: Mapping[str, Any]) -> str | None:
        """Why the request is refused; None where it is passed on."""
        if not self._is_own(environ.get("HTTP_HOST", "")):
            return _OTHER_NAME
        if _is_from_elsewhere(environ) and not _is_followed_link(environ):
            return _OTHER_SITE
        return None

    def _is_own(self, host: str) -> bool:
        """Whether `host`, a name with or without a port, is one of this web UI's. The port may be a tunnel's."""
        try:
            name = _plain(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False
        if name == "localhost" or name in self._names:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or self._any_address)


def _is_from_elsewhere(environ: Mapping[str, Any]) -> bool:
    """Whether a page of another origin made the request. Another port, and an origin that is hidden, count as another."""
    origin: str | None = environ.get("HTTP_ORIGIN")
    host: str = environ["HTTP_HOST"]
    if origin is not None:
        return origin.partition("://")[2].lower() != host.lower()
    return environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin")


def _is_followed_link(environ: Mapping[str, Any]) -> bool:
    """Whether the request follows a link: its answer then fills the browser's window, and the other site cannot read it."""
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "HTTP_ORIGIN" not in environ
        and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST") == "document"
        and environ["PATH_INFO"] in PAGES
    )


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
