"""Application files: from what they say to an application, and what is wrong in one line."""

import hashlib
import string
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.said import refusal as refused
from tests.unit.said import table
from wsgilab.experiment import application
from wsgilab.experiment.request_entries import MOST_BODY_BYTES
from wsgilab.model import Application, Expected, Request
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import LabError, SpecError, UsageError

FILE = """\
application:
  entry: "shop:create_app('prod')"
  source: ../shop
  env: {SHOP_DB: "sqlite:///{LAB_DATA}/shop.db"}
  writable: [instance]
  prepare: [python, -m, shop.seed]
requests:
  orders: {get: "/orders?page=1", expect: {status: 200, contains: '"orders"'}}
  buy: {post: /orders, json: {sku: 7}, headers: {X-Key: k}, expect: 201}
  upload: {put: /files/x, body_file: fixtures/x.bin}
  shop: {mix: {orders: 8, buy: 1}}
"""
FILES = {
    "lab/fixtures/x.bin": b"\xff\x00",
    "lab/fixtures/x.txt": "größe\r\n\x00".encode(),
    "lab/browse.py": b"import json, locust\nfrom pages.orders import LIST\nimport paths\r\n",
    "lab/json.py": b"",
    "lab/paths.py": b"import browse, elsewhere\n",
    "lab/pages/__init__.py": b"",
    "lab/pages/orders.py": b"from . import items\nfrom .words import *\n",
    "lab/pages/items.py": b"",
    "lab/pages/words.py": b"",
    "lab/bad.py": b"\ndef:\n",
    "lab/x.bin": b"\xff\x00",
}


def parse(text: str, folder: str = "lab", files: Mapping[str, bytes] = FILES) -> Application:
    def read_file(path: str) -> bytes:
        if path not in files:
            raise UsageError(f"{path}: cannot be read (No such file or directory); name a file that is there")
        return files[path]

    return application.parse(text, "shop.yaml", folder=folder, read_file=read_file)


def of_requests(*lines: str) -> Application:
    return parse("application: {entry: 'shop:app'}\nrequests:\n" + "".join(f"  {line}\n" for line in lines))


def refusal(text: str) -> str:
    return refused(SpecError, parse, text)


# What a file says.


def test_a_file_is_an_application_with_its_requests_and_mixes() -> None:
    found = parse(FILE)

    assert found == Application(
        entry="shop:create_app('prod')",
        source="shop",
        env={"SHOP_DB": "sqlite:///{LAB_DATA}/shop.db"},
        writable=("instance",),
        prepare=("python", "-m", "shop.seed"),
        requests={
            "orders": Request(method="GET", path="/orders?page=1", expect=Expected(status=200, contains='"orders"')),
            "buy": Request(
                method="POST",
                path="/orders",
                headers={"X-Key": "k", "Content-Type": "application/json"},
                body='{"sku": 7}',
                expect=Expected(status=201),
            ),
            "upload": Request(method="PUT", path="/files/x", body_base64="/wA="),
        },
        mixes={"shop": {"orders": 8.0, "buy": 1.0}},
    )


def test_of_a_locust_file_and_the_modules_beside_it_that_it_imports_digests_are_held() -> None:
    found = of_requests("browse: {locustfile: browse.py, user: Shopper}")

    held = ("browse.py", "paths.py", "pages/__init__.py", "pages/orders.py", "pages/items.py", "pages/words.py")
    files = {path: hashlib.sha256(FILES[f"lab/{path}"]).hexdigest() for path in held}
    (file,) = found.locust_files.values()
    assert file == LocustFile(path="lab/browse.py", user="Shopper", files=files)
    assert (file.folder, file.name, found.requests) == ("lab", "browse.py", {})


def test_a_locust_file_elsewhere_brings_what_is_beside_it() -> None:
    files = {"load/a.py": b"import b, c", "load/b.py": b"", "lab/c.py": b""}

    found = parse("application: {entry: 'shop:app'}\nrequests: {a: {locustfile: ../load/a.py}}", files=files)

    digests = {path: hashlib.sha256(text).hexdigest() for path, text in (("a.py", b"import b, c"), ("b.py", b""))}
    assert found.locust_files["a"] == LocustFile(path="load/a.py", files=digests)
    assert application.located(found, "/shops/lab").locust_files["a"].path == "/shops/lab/load/a.py"


def test_a_locust_file_that_is_not_there_is_told() -> None:
    with pytest.raises(LabError, match=r"^lab/none\.py: cannot be read"):
        of_requests("browse: {locustfile: none.py}")


def test_what_a_run_holds_of_a_locust_file_needs_no_file_again() -> None:
    found = of_requests("browse: {locustfile: browse.py}", "orders: {get: /}")

    assert parse(yaml.safe_dump(application.document(found)), "", files={}) == found


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
def test_every_method_has_its_key(method: str) -> None:
    request = of_requests(f"it: {{{method}: /x}}").requests["it"]

    assert (request.method, request.path, request.expect) == (method.upper(), "/x", Expected())


@pytest.mark.parametrize(
    ("folder", "source", "found"),
    [
        ("lab", "../shop", "shop"),
        ("", "../shop", "../shop"),
        (".", ".", "."),
        ("a/b", ".", "a/b"),
        ("..", "shop/", "../shop"),
        ("lab", "/srv/shop", "/srv/shop"),
    ],
)
def test_a_source_is_relative_to_its_file_and_then_to_where_the_lab_is_called(
    folder: str, source: str, found: str
) -> None:
    text = f"application: {{entry: 'shop:app', source: {source}}}\nrequests: {{root: {{get: /}}}}"

    assert parse(text, folder).source == found


def test_an_image_and_services_have_paths_relative_to_the_file_and_a_source_within_the_image() -> None:
    backends = "[upstream, {compose: dev/compose.yaml, services: [redis, db_1]}]"
    text = f"application: {{entry: 'shop:app', build: ../shop, env_file: .env, source: lib, backends: {backends}}}\n"
    found = parse(f"{text}requests: {{root: {{get: /}}}}")

    assert (found.build, found.env_file, found.source) == ("shop", "lab/.env", "lib")
    assert found.backend_names == ("upstream", "redis", "db_1")
    assert found.services == dict.fromkeys(["redis", "db_1"], "lab/dev/compose.yaml")
    assert parse(yaml.safe_dump(application.document(found)), ".") == found


@pytest.mark.parametrize(
    ("settings", "message"),
    table(
        """
        image: shop, build: . | : has image and build; give the one or the other
        image: shop, python: '3.12' | .python: comes with the image that image names; leave the one or the other out
        build: ., requirements: r.txt | .requirements: comes with the image that build names;
        image: shop, extras: [a] | .extras: comes with the image that image names;
        image: -v | .image: must be the name of an image, such as shop:latest or registry.example/shop:1.2, not '-v'
        backends: [{compose: a.yml}] | .backends: must be a list of postgres, upstream and {compose: FILE, services: [NAME]}, not [{'compose'
        backends: [{compose: a.yml, services: [a]}, {compose: b.yml, services: [b]}] | .backends: has services of a.yml and b.yml; name one Compose file, which may include others
        backends: [postgres, {compose: a.yml, services: [postgres]}] | .backends: postgres is there twice, and servers reach each by its name; leave one out
        """
    ),
)
def test_what_does_not_go_with_an_image_or_with_services_is_said_in_one_line(settings: str, message: str) -> None:
    text = f"application: {{entry: 'shop:app', {settings}}}\nrequests: {{root: {{get: /}}}}"

    assert refusal(text).startswith(f"shop.yaml: application{message}")


def test_a_body_is_kept_as_text_where_it_is_text() -> None:
    request = of_requests("it: {post: /x, body_file: fixtures/x.txt}").requests["it"]

    assert (request.body, request.body_base64) == ("größe\r\n\x00", None)
    assert of_requests("it: {post: /x, body: größe}").requests["it"].body == "größe"
    assert of_requests("it: {post: /x, body_base64: YQ==}").requests["it"].body == "a"


def test_a_content_type_of_ones_own_stays() -> None:
    request = of_requests("it: {post: /x, json: [1], headers: {content-type: text/json}}").requests["it"]

    assert request.headers == {"content-type": "text/json"}


@pytest.mark.parametrize(
    "entry",
    [
        "shop:app",
        "shop.wsgi:app",
        "shop.wsgi:site.app",
        "shop:create_app()",
        "shop:create_app('prod', debug=False, roots=['/data'], limits={'a': -1})",
        "shop:factories.create(1)",
    ],
)
def test_entries_are_those_that_gunicorn_takes(entry: str) -> None:
    assert application.of_get(entry, ".", "/").entry == entry


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "root"), ("/orders", "orders"), ("/orders?page=1", "orders-page-1"), ("/delay/0.05", "delay-0-05")],
)
def test_the_command_line_names_one_request_by_its_path(path: str, name: str) -> None:
    found = application.of_get("shop:app", "../shop/", path)

    assert found == Application(entry="shop:app", source="../shop", requests={name: Request(method="GET", path=path)})


def test_a_long_path_has_a_name_that_an_experiment_takes() -> None:
    found = application.of_get("shop:app", ".", "/" + "a-" * 100)

    (name,) = found.requests
    assert len(name) <= 64
    assert parse(yaml.safe_dump(application.document(found)), "").requests == found.requests


# What is wrong with one.


@pytest.mark.parametrize(
    ("before", "after", "message"),
    table(
        r"""
        entry: | entri: | unknown key 'application.entri'; known are entry, source, requirements,
        shop:create_app('prod') | shop | application.entry: must be module:callable, such as shop.wsgi:app or "shop:create_app('prod')", not 'shop'
        shop:create_app('prod') | shop: | application.entry: must be module:callable
        shop:create_app('prod') | shop:app[0] | application.entry: must be module:callable
        shop:create_app('prod') | shop/wsgi.py:app | application.entry: must be module:callable
        create_app('prod') | create_app(PROD) | application.entry: a factory takes literal arguments alone, such as 'prod' or debug=False, not 'shop:create_app(PROD)'
        create_app('prod') | create_app(**{'a': 1}) | application.entry: a factory's arguments are spelled out
        create_app('prod') | create_app(*[1]) | application.entry: a factory takes literal arguments alone
        source: ../shop | requirements: ../requirements.txt | application.requirements: must be within source, and relative to it, not '../requirements.txt'
        source: ../shop | env_file: /etc/env | application.env_file: must be within source
        [instance] | [.] | application.writable[0]: must be within source, and relative to it, not '.'
        {SHOP_DB: | {LAB_APP: | application.env: LAB_APP: variables that begin with LAB_ are the lab's own; name it otherwise
        [python, -m, shop.seed] | python | application.prepare: must be a list of words such as [python, -m, shop
        get: "/orders?page=1" | get: orders | requests.orders.get: must begin with / and be printable ASCII without spaces and #; spell others as URLs do, such as %20, not 'orders'
        get: "/orders?page=1", |  | requests.orders: needs one of get, post, put, patch, delete, head, options with a path, or mix, or locustfile; there is neither
        {post: /orders | {post: /orders, get: / | requests.buy: needs one of get, post, put, patch, delete, head,
        {X-Key: k} | {X Key: k} | requests.buy.headers.X Key.[key]: must be the name of a header, not 'X Key'
        {X-Key: k} | {X-Key: 1} | requests.buy.headers.X-Key: must be printable ASCII, as headers are sent, not 1
        {X-Key: k} | {content-length: '3'} | requests.buy.headers: content-length: is the load generator's own; leave it out
        {X-Key: k} | {X-Key: k, x-key: l} | requests.buy.headers: has a header twice; give it once
        json: {sku: 7} | json: {sku: 7}, body: x | requests.buy: has json and body, but a request has one body; give one of them
        json: {sku: 7} | json: {1: 7} | requests.buy.json: JSON cannot spell it (a key that is no text)
        json: {sku: 7} | json: .inf | requests.buy.json: JSON cannot spell it
        put: /files/x | head: /files/x | requests.upload.body_file: a HEAD has no body; leave it out
        fixtures/x.bin} | fixtures/x.bin, mix: {buy: 1}} | requests.upload: needs one of get,
        body_file: fixtures/x.bin | body_base64: a | requests.upload.body_base64: is no base64
        expect: 201 | expect: 20 | requests.buy.expect.status: must be a whole number from 100 to 599, not 20
        expect: 201 | expect: {matches: '('} | requests.buy.expect.matches: is no regular expression (missing ),
        status: 200 | state: 200 | unknown key 'requests.orders.expect.state'; known are status, contains,
        get: "/orders?page=1" | head: "/orders" | requests.orders.expect.contains: the answer to a HEAD has no body; expect a status alone
        {orders: 8, buy: 1} | {order: 8} | requests.shop.mix: unknown request 'order'; did you mean orders?
        {orders: 8, buy: 1} | {shop: 8} | requests.shop.mix: unknown request 'shop'; known are orders, buy, upload
        {orders: 8, buy: 1} | {orders: 0} | requests.shop.mix: one share at least must be more than 0
        {orders: 8, buy: 1} | {} | requests.shop.mix: one share at least must be more than 0
        {orders: 8, buy: 1} | {orders: 99.99, buy: 0.01} | requests.shop.mix: comes to its shares after 10,000 requests, and may take 1,000; give rounder shares
        buy: 1}} | buy: 1}, expect: 200} | requests.shop.expect: a mix has nothing but its shares; give it to the requests that it names
        shop: {mix | The Shop: {mix | requests.The Shop.[key]: must be lower-case letters, digits and hyphens, 64 at
        shop: {mix: {orders: 8, buy: 1}} | shop: {locustfile: browse.py, expect: 200} | requests.shop.expect: a Locust file has its own requests; leave it out, or change that file
        {mix: {orders: 8, buy: 1}} | {locustfile: browse.py, files: {other.py: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}} | requests.shop.files: has no browse.py, which locustfile names; leave files out
        {mix: {orders: 8, buy: 1}} | {locustfile: browse.py, files: {browse.py: 'import json'}} | requests.shop.files.browse.py: must be a SHA-256 in hexadecimal, as a run has recorded it, not 'import json'
        {mix: {orders: 8, buy: 1}} | {locustfile: browse.py, user: the user} | requests.shop.user: must be the name of a class, such as Shopper, not 'the user'
        {mix: {orders: 8, buy: 1}} | {locustfile: bad.py} | requests.shop.locustfile: lab/bad.py, line 2: invalid syntax
        {mix: {orders: 8, buy: 1}} | {locustfile: x.bin} | requests.shop.locustfile: lab/x.bin: is not UTF-8 text
        expect: 201 | user: Shopper | requests.buy.user: is of a Locust file; leave it out, or name that with
        [instance] | [instance]\n  locust_requirements: [-r more.txt] | application.locust_requirements: must be a list of packages of an index, such as [faker, beautifulsoup4>=4.12]
        source: ../shop | requirements: requirements.txt\n  extras: [a] | application.extras: are those of a pyproject.toml, but requirements is 'requirements.txt'
        """
    ),
)
def test_what_is_wrong_is_said_in_one_line(before: str, after: str, message: str) -> None:
    assert FILE.count(before) == 1

    assert refusal(FILE.replace(before, after)).startswith(f"shop.yaml: {message}")


def test_a_file_that_is_none_says_how_one_begins() -> None:
    assert refusal("[]") == "shop.yaml: is not an application; it must begin with keys such as application and requests"
    assert refusal("application: {entry: 'a:b'}") == "shop.yaml: lacks the key 'requests'"


def test_a_body_has_a_limit() -> None:
    files = {"lab/fixtures/x.bin": bytes(MOST_BODY_BYTES)}
    assert parse(FILE, files=files).requests["upload"].body is not None

    with pytest.raises(
        SpecError, match=r"^shop\.yaml: requests\.upload\.body_file: has 1,048,577 bytes, and a body may"
    ):
        parse(FILE, files={"lab/fixtures/x.bin": bytes(MOST_BODY_BYTES + 1)})


def test_all_bodies_together_have_a_limit() -> None:
    some = "\n".join(f"  r{number}: {{put: /x, body_file: fixtures/x.bin}}" for number in range(4))
    text = f"application: {{entry: 'shop:app'}}\nrequests:\n{some}\n"
    with pytest.raises(
        SpecError,
        match=r"^shop\.yaml: requests: their bodies have 4,194,304 bytes together, and may have ",
    ):
        parse(text, files={"lab/fixtures/x.bin": bytes(MOST_BODY_BYTES)})


@pytest.mark.parametrize(
    ("entry", "source", "path", "begin"),
    [("shop", ".", "/", "--app: must be"), ("a:b", ".", "x", "--get: must"), ("a:b", "a\nb", "/", "--source: must be")],
)
def test_what_the_command_line_says_wrong_is_told_with_its_option(
    entry: str, source: str, path: str, begin: str
) -> None:
    assert refused(SpecError, application.of_get, entry, source, path).startswith(begin)


# What is recorded of one.

TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PATHS = st.text(st.sampled_from([each for each in string.printable if "!" <= each <= "~" and each != "#"])).map(
    "/{}".format
)
NAMES = st.from_regex("[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
HEADERS = st.dictionaries(
    st.from_regex("[A-Za-z]{1,5}-[A-Za-z]{1,5}", fullmatch=True).map(str.title),
    st.from_regex("([!-~]([ -~]{0,10}[!-~])?)?", fullmatch=True),
    max_size=2,
)
EXPECTED: st.SearchStrategy[Expected] = st.builds(
    Expected,
    status=st.none() | st.integers(100, 599),
    contains=st.none() | TEXTS,
    matches=st.none() | st.sampled_from(["", "a+", "ä\n"]),
    json=VALUES,
    body=st.none() | TEXTS,
)
REQUESTS: st.SearchStrategy[Request] = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    path=PATHS,
    headers=HEADERS,
    body=st.none() | TEXTS,
    expect=EXPECTED,
)


@st.composite
def applications(draw: st.DrawFn) -> Application:
    requests = draw(st.dictionaries(NAMES, REQUESTS, min_size=1, max_size=3))
    mixed = draw(st.dictionaries(st.sampled_from(sorted(requests)), st.integers(1, 9).map(float), min_size=1))
    name = draw(NAMES.filter(lambda each: each not in requests))
    return Application(
        entry=draw(st.sampled_from(["shop:app", "shop:create_app('é')"])),
        source=draw(st.sampled_from([".", "../shop", "/srv/shop"])),
        env=draw(st.dictionaries(st.sampled_from(["A", "b_1"]), TEXTS.filter(lambda each: "\0" not in each))),
        env_file=draw(st.sampled_from([None, ".env"])),
        start_s=draw(st.sampled_from([None, 1.5, 60.0])),
        backends=draw(st.sampled_from([(), ("postgres",)])),
        requests={**requests, "upload": Request(method="PUT", path="/", body_base64="/wA=")},
        mixes=draw(st.sampled_from([{}, {name: mixed}])),
    )


@settings(max_examples=40)
@given(applications())
def test_what_is_recorded_of_an_application_gives_it_again(given: Application) -> None:
    text = yaml.safe_dump(application.document(given), sort_keys=False, width=120)

    assert parse(text, "", {}) == given


def test_what_is_recorded_has_nothing_that_is_as_by_default() -> None:
    recorded: Any = application.document(application.of_get("shop:app", "../shop", "/orders"))

    assert recorded == {
        "application": {"entry": "shop:app", "source": "../shop"},
        "requests": {"orders": {"get": "/orders"}},
    }
