"""A Locust file of the user's own: loading it, its listeners and options, and what its requests are recorded as."""

import base64
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import gevent
import gevent.event
import locust
import pytest
from gevent.pool import Group
from locust.env import Environment
from werkzeug.serving import WSGIRequestHandler, make_server

from wsgilab import testing
from wsgilab.experiment.application import users_option
from wsgilab.load import own_locustfile, own_users
from wsgilab.load.locustfiles import BadLocustfile
from wsgilab.load.own_locustfile import OwnLocustfile, begin, end
from wsgilab.load.own_users import USER, OwnRecorder, OwnUser, request_name
from wsgilab.load.worker import RecordingWorker
from wsgilab.model import Application, Request, TrialSpec
from wsgilab.model.application import LocustFile
from wsgilab.runtime.source import locust_folders
from wsgilab_door.stamp import StampMiddleware

SHOPPER = """
from locust import FastHttpUser, HttpUser, LoadTestShape, events, task

class Shopper(FastHttpUser):
    weight = 0
    @task
    def orders(self):
        self.client.get("/orders")
"""
OTHER = "class Other(Shopper):\n    pass\n"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def own_file(text: str, user: str | None = None, **files: str) -> OwnLocustfile:
    """As it is loaded from a new folder, in which there are such `files` too."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    for path, each in {"shop": text, **files}.items():
        file = folder / (path if "." in path else f"{path}.py")
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(each)
    return OwnLocustfile(LocustFile(path="../load/shop.py", user=user, files={}), folder)


def refusal(text: str, user: str | None = None, **files: str) -> str:
    with pytest.raises(BadLocustfile) as caught:
        own_file(text, user, **files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def environment() -> Iterator[Environment]:
    """One of Locust, in which nothing is left of a trial."""
    made = Environment()
    made.host = "http://target.invalid"
    before = {name: list(hook._handlers) for name, hook in own_locustfile._hooks().items()}
    yield made
    end()
    assert {name: hook._handlers for name, hook in own_locustfile._hooks().items()} == before
    assert made.events is not locust.events


# Loading.


def test_the_users_are_the_files_own_and_their_class_stays_as_it_is() -> None:
    own = own_file(SHOPPER)

    (of_file,) = (base for base in own.user_class.__bases__ if base is not OwnUser)
    assert (own.user_class.__name__, own.user_class.weight, of_file.weight) == ("Shopper", 1, 0)  # type: ignore[attr-defined]
    assert own.user_class.tasks == of_file.tasks  # type: ignore[attr-defined]
    assert not issubclass(of_file, OwnUser)


def test_of_several_classes_one_is_named() -> None:
    assert own_file(SHOPPER + OTHER, "Other").user_class.__name__ == "Other"


def test_modules_beside_it_are_found_and_hide_no_others() -> None:
    files = {
        "paths": "ORDERS = '/o'",
        "pages/__init__": "",
        "pages/list": "from .more import MORE",
        "pages/more": "MORE = 7",
    }
    text = "import paths, json\nfrom pages.list import MORE\nimport apart.deep\n" + SHOPPER
    others, modules = SimpleNamespace(ORDERS="of others"), cast("Any", sys.modules)
    modules["paths"] = others
    try:
        own = own_file(text, **files, **{"apart/deep": "", "late": "WHEN = 'in a task'"})
        assert modules["paths"] is others
        with own._place.used():
            assert modules["paths"].ORDERS == "/o"
            assert importlib.import_module("late").WHEN == "in a task"
        assert modules["paths"] is others
    finally:
        del modules["paths"]
    assert not {"shop", "pages", "pages.list", "apart", "late"} & sys.modules.keys()


DATA = """
import csv
from pathlib import Path
from common.words import GREETING

with open("users.csv") as file:
    USERS = [each["name"] for each in csv.DictReader(file)]
AGAIN = Path(__file__).with_name("users.csv").read_text()

def in_a_task():
    return Path("users.csv").read_text()
"""


def test_it_reads_files_beside_it_as_where_locust_is_called_in_its_folder() -> None:
    before, path = Path.cwd(), list(sys.path)
    files = {"users.csv": "name\nbob\n", "common/words": "GREETING = 'hello'"}
    own = own_file(DATA + SHOPPER, **files)
    module = cast("Any", own._place._mine["shop"])

    assert (module.USERS, module.GREETING, module.AGAIN) == (["bob"], "hello", "name\nbob\n")
    assert (Path.cwd(), sys.path) == (before, path)
    with own._place.used():
        assert module.in_a_task() == "name\nbob\n"
        assert sys.path[0] == str(own.file.parent)


def test_a_folder_is_brought_along_and_its_path_stays_as_its_code_leaves_it(tmp_path: Path) -> None:
    folder = tmp_path / "load"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "deep.py").write_text("")
    (folder / "shop.py").write_text("import sys\nsys.path.append('lib')\nimport deep\n" + SHOPPER)
    text = (folder / "shop.py").read_bytes()
    file = LocustFile(path=str(folder / "shop.py"), files={"shop.py": hashlib.sha256(text).hexdigest()})
    source = locust_folders(testing.application(locust_files={"browse": file}))[str(folder)]

    copy = own_locustfile.unpack(str(folder), source.archive())
    own = own_locustfile.loaded(file)
    with own._place.used():
        assert Path.cwd() == copy
        assert sys.path[-1] == "lib"
    assert sorted(each.name for each in copy.iterdir() if each.name != "__pycache__") == ["lib", "shop.py"]
    with pytest.raises(BadLocustfile, match=r"^else/a\.py: its folder was not brought along$"):
        own_locustfile.loaded(LocustFile(path="else/a.py", files={}))


def test_a_load_shape_is_told_to_be_ignored() -> None:
    shape = "class Stages(LoadTestShape):\n    def tick(self):\n        return None\n"

    assert own_file(SHOPPER).notes == []
    (note,) = own_file(SHOPPER + shape).notes
    assert note.startswith(
        "../load/shop.py: its load shape Stages is ignored; the experiment, or the web UI's form, says"
    )


@pytest.mark.parametrize(
    ("text", "user", "message"),
    [
        (
            "import nothing_of_the_kind",
            None,
            "../load/shop.py, line 1: ModuleNotFoundError: No module named 'nothing_of_the_kind'; name its package in locust_requirements",
        ),
        (
            "\nopen('gone.csv')",
            None,
            "../load/shop.py, line 2: FileNotFoundError: [Errno 2] No such file or directory: 'gone.csv'",
        ),
        ("raise SystemExit('not today')", None, "../load/shop.py, line 1: SystemExit: not today"),
        ("def", None, "../load/shop.py, line 1: invalid syntax"),
        ("import beside", None, "../load/shop.py, line 1: ZeroDivisionError: division by zero"),
        ("", None, "../load/shop.py: has no class of users; derive one from HttpUser or FastHttpUser"),
        (SHOPPER + OTHER, None, "../load/shop.py: has several classes of users: Shopper, Other; name one with `user`"),
        (SHOPPER, "Buyer", "../load/shop.py: has no class Buyer; it has Shopper"),
        (SHOPPER, "task", "../load/shop.py: task is no class of Locust users; it has Shopper"),
        (SHOPPER, "HttpUser", "../load/shop.py: HttpUser is abstract; it has Shopper"),
        ("from locust import HttpUser", "HttpUser", "../load/shop.py: HttpUser is abstract; it has none that could be"),
        (
            "from locust import HttpUser\nclass Idle(HttpUser):\n    pass",
            None,
            "../load/shop.py: Idle has no tasks; decorate a method of it with @task",
        ),
    ],
)
def test_what_is_wrong_with_it_is_one_line(text: str, user: str | None, message: str) -> None:
    assert refusal(text, user, beside="1 / 0") == message
    assert "shop" not in sys.modules


# Listeners and options.

LISTENING = """
HEARD = []

@events.init_command_line_parser.add_listener
def _(parser):
    parser.add_argument("--rate", default="seven")

@events.init.add_listener
def _(environment, **_):
    HEARD.append(environment.parsed_options.rate)
    environment.events.request.add_listener(lambda name, **_: HEARD.append(name))
"""


def test_its_listeners_hear_its_own_trials_once_each_and_no_others(environment: Environment) -> None:
    own = own_file(SHOPPER + LISTENING)
    environment.parsed_options = SimpleNamespace()
    of_lab: list[str] = []
    environment.events.request.add_listener(lambda name, **_: of_lab.append(name))  # type: ignore[no-untyped-call]
    locust.events.init.fire(environment=environment)  # type: ignore[no-untyped-call]

    for _ in range(3):
        begin(own, environment, users=4)
        environment.events.init.fire(environment=environment)  # type: ignore[no-untyped-call]
        locust.events.request.fire(name="/orders")  # type: ignore[no-untyped-call]
        assert environment.parsed_options.host == "http://target.invalid"
        end()
    environment.events.request.fire(name="of the lab's")  # type: ignore[no-untyped-call]

    module = own._place._mine["shop"]
    assert module.HEARD == ["seven", "/orders"] * 3
    assert of_lab == ["/orders"] * 3 + ["of the lab's"]


def test_an_option_that_must_be_given_is_told() -> None:
    text = LISTENING.replace('default="seven"', "required=True")
    assert refusal(SHOPPER + text).startswith(
        "../load/shop.py: its own options have no default: the following arguments are required"
    )


# In a worker.


def worker(environment: Environment) -> tuple[RecordingWorker, list[tuple[str, Any]]]:
    """One that keeps what it sends."""
    sent: list[tuple[str, Any]] = []
    made = object.__new__(RecordingWorker)
    vars(made).update(environment=environment, _own=None, _own_options={}, recorder=None)
    made.runner = cast("Any", SimpleNamespace(send_message=lambda kind, data: sent.append((kind, data))))
    return made, sent


def packed(folder: Path, text: str) -> tuple[LocustFile, bytes]:
    folder.mkdir()
    (folder / "shop.py").write_text(text)
    file = LocustFile(path=f"{folder}/shop.py", files={"shop.py": hashlib.sha256(text.encode()).hexdigest()})
    return file, locust_folders(testing.application(locust_files={"browse": file}))[str(folder)].archive()


def test_a_workers_users_are_the_files_or_the_labs_as_it_is_told(environment: Environment, tmp_path: Path) -> None:
    file, archive = packed(tmp_path / "load", SHOPPER + LISTENING)
    made, sent = worker(environment)
    users = list(environment.user_classes)
    made._on_folder(SimpleNamespace(data={"folder": file.folder, "archive": archive}))
    made._on_own(SimpleNamespace(data={"file": asdict(file), "host": "http://target.invalid", "users": 3}))
    # The master's options, with which Locust begins a test.
    vars(environment.parsed_options).update(rate=0.0, target="gunicorn-sync-1")
    made.on_start()

    assert [each.__name__ for each in environment.user_classes] == ["Shopper"]
    assert type(made.recorder).__name__ == "OwnRecorder"
    assert (environment.parsed_options.rate, environment.parsed_options.num_users) == ("seven", 3)  # type: ignore[union-attr]
    made._on_own(SimpleNamespace(data=None))
    made.on_start()
    assert type(made.recorder).__name__ == "Recorder"
    assert (environment.user_classes, sent) == (users, [])


def test_a_worker_tells_what_is_wrong_with_the_file(environment: Environment, tmp_path: Path) -> None:
    file, archive = packed(tmp_path / "load", "1 / 0")
    made, sent = worker(environment)
    made._on_folder(SimpleNamespace(data={"folder": file.folder, "at": str(own_locustfile.unpack("x", archive))}))
    made._on_own(SimpleNamespace(data={"file": asdict(file), "host": "http://target.invalid", "users": 3}))

    message = f"{file.path}, line 1: ZeroDivisionError: division by zero"
    assert sent == [("lab_user_error", {"message": message})]


# What its requests are recorded as.


@pytest.mark.parametrize(
    ("method", "name", "told"),
    [
        ("GET", "orders", "orders"),
        ("GET", "/orders?page=1", "GET /orders?page=1"),
        ("POST", "/orders/[id]", "POST /orders/[id]"),
        ("GET", "http://a.invalid/", "GET http://a.invalid/"),
        ("GET", "a\n b\x1b", "a b\\x1b"),
        ("GET", "x" * 300, "x" * 200),
    ],
)
def test_a_request_has_the_name_that_the_file_gives_it_or_method_and_path(method: str, name: str, told: str) -> None:
    assert request_name(method, name) == told


def recorder(**options: Any) -> OwnRecorder:
    made = Environment()
    made.parsed_options = SimpleNamespace(**options)
    return OwnRecorder(made, "../load/shop.py", Path("/x/shop.py"))


@pytest.fixture
def at_1000_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks stand still: the one at 1000 s, CLOCK_MONOTONIC at 100 s."""
    monkeypatch.setattr(own_users, "time", SimpleNamespace(time=lambda: 1000.0, monotonic_ns=lambda: 100 * 10**9))


@pytest.mark.usefixtures("at_1000_s")
def test_a_request_is_recorded_with_its_stamps_its_name_its_user_and_when_it_was_sent() -> None:
    found = recorder()
    history = [SimpleNamespace(headers={"Lab-Stamp": "1 2 3 4 5"})]
    response = SimpleNamespace(headers={"Lab-Stamp": "1 2 3 6 7"}, history=history)
    # `user` and `name` are what the file itself has in its context.
    context = {"user": "bob", "name": "x", USER: 7}
    found.on_request(
        request_type="GET",
        name="/old",
        response_time=12.5,
        response_length=3,
        response=response,
        context=context,
        start_time=999.5,
        exception=None,
    )

    (sample,) = found.samples
    assert (sample.stamp, sample.redirects, sample.name) == ("1 2 3 6 7", ("1 2 3 4 5",), "GET /old")
    assert sample.begun_ns == 99_500_000_000
    assert (sample.latency_ms, sample.received_bytes, found.answered) == (12.5, 3, {7})


@pytest.mark.parametrize("exception", ["no", locust.exception.CatchResponseError("no")])
def test_what_the_file_calls_a_failure_is_one(exception: object) -> None:
    found = recorder()
    found.on_request(request_type="GET", name="/", response_time=None, exception=exception, start_time=time.time())

    assert [each.error for each in found.samples] == ["CatchResponseError: no"]


@pytest.mark.usefixtures("at_1000_s")
def test_what_fails_when_it_was_sent_after_the_window_counts_for_nothing() -> None:
    found = recorder(window_end_ns=99 * 10**9)
    found.clock_offset_ns = 0
    for began in (1000.0, 995.0):
        found.on_request(request_type="GET", name="/", response_time=1.0, exception="no", start_time=began)
    found._on_user_error(SimpleNamespace(), ValueError("too late"))

    assert len(found.samples) == 1


def test_an_exception_of_a_task_is_a_failure_that_says_where() -> None:
    found = recorder()
    try:
        exec(compile("\n1 / 0", "/x/shop.py", "exec"), {})
    except ZeroDivisionError as error:
        found._on_user_error(SimpleNamespace(user=None), error)

    assert [each.error for each in found.samples] == ["../load/shop.py, line 2: ZeroDivisionError: division by zero"]


# The end of a trial.

TASKS = """
import gevent
from locust import FastHttpUser, task

class Shopper(FastHttpUser):
    def on_start(self):
        if self.environment.parsed_options.failing:
            raise LookupError("no token")
        self.client.get("login")

    @task
    def orders(self):
        for _ in range(100):
            self.client.get("one")
            gevent.sleep(600)

    def on_stop(self):
        self.client.get("logout")
"""


def at_work(
    send: Callable[[str], object],
    text: str = TASKS,
    *,
    failing: bool = False,
    until: Callable[[OwnRecorder], object],
) -> tuple[OwnUser, OwnRecorder, Group]:
    """A user at work, who sends with `send`, by the moment at which `until` is so."""
    made = Environment(host="http://127.0.0.1:9")
    made.parsed_options = SimpleNamespace(failing=failing)
    own = own_file(text)
    found = OwnRecorder(made, own.path, own.file)
    user: Any = own.user_class
    user.host = made.host
    one = user(made)
    vars(one.client)["request"] = lambda method, url, **_: one._wsgilab_request(lambda _, to: send(to), method, url)
    group = Group()
    one.start(group)
    with gevent.Timeout(60):
        while not until(found):
            gevent.sleep(0.001)
    return one, found, group


def test_a_user_who_sleeps_in_a_task_is_ended_at_once_and_leaves_as_the_file_says() -> None:
    sent: list[str] = []
    user, found, group = at_work(sent.append, until=lambda _: "one" in sent)
    assert not found.starting
    user.stop()
    group.join(timeout=60)

    assert (sent, len(group), found.samples) == (["login", "one", "logout"], 0, [])


@pytest.mark.parametrize("times", [1, 100])
def test_a_request_under_way_is_awaited_and_is_the_last_of_its_task(times: int) -> None:
    sent: list[str] = []
    is_under_way, is_answered = gevent.event.Event(), gevent.event.Event()

    def send(url: str) -> None:
        if url == "one":
            is_under_way.set()
            is_answered.wait()
        sent.append(url)

    text = TASKS.replace("gevent.sleep(600)", "pass").replace("100", str(times))
    user, _, group = at_work(send, text, until=lambda _: is_under_way.is_set())
    user.stop()
    is_answered.set()
    group.join(timeout=60)

    assert (sent, len(group)) == (["login", "one", "logout"], 0)


def test_a_request_that_is_given_up_is_cut_off() -> None:
    asked: list[str] = []

    def send(url: str) -> None:
        asked.append(url)
        gevent.sleep(600 if url == "one" else 0)

    user, found, group = at_work(send, until=lambda _: "one" in asked)
    group.kill()

    assert [(each.cut_off, each.name, each.error) for each in found.samples] == [(True, "one", "given up")]
    assert found.failed == {id(user)}


def test_a_user_whose_start_fails_is_one_without_an_answer_and_the_trial_goes_on() -> None:
    user, found, group = at_work(lambda _: None, failing=True, until=lambda found: found.failed and not found.starting)

    assert [each.error for each in found.samples] == ["../load/shop.py, line 8: LookupError: no token"]
    assert (len(group), found.failed, found.starting) == (1, {id(user)}, set())
    group.kill()


# All of it: both of Locust's clients against the lab's own users, on a server of four slots.

CLIENTS = """
from locust import FastHttpUser, HttpUser, User, events, task

@events.request.add_listener
def _(context, **_):
    assert context["who"] == "bob"

class Common(User):
    abstract = True

    def on_start(self):
        self.client.get("/login")

    def context(self):
        return {"who": "bob"}

    @task
    def orders(self):
        self.client.get("/orders", name="orders")

class Http(Common, HttpUser):
    pass

class Fast(Common, FastHttpUser):
    pass
"""
SLOTS = 4


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None: ...


@pytest.fixture
def four_slots() -> Iterator[str]:
    """The address of a server that answers four requests of 20 ms at once."""
    slots = threading.Semaphore(SLOTS)

    def answer(environ: Mapping[str, Any], start: Any) -> Iterable[bytes]:
        time.sleep(0.02)
        path = environ["PATH_INFO"]
        status, more = {"/login": ("302 Found", [("Location", "/orders")])}.get(path, ("200 OK", []))
        if path.startswith("/__lab__/"):
            status = "404 Not Found"
        start(status, [("Content-Length", "2"), *more])
        return [b"ok"]

    stamped = StampMiddleware(answer, None)

    def in_slots(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with slots:
            return list(stamped(environ, start))

    server = make_server("127.0.0.1", 0, in_slots, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def test_both_clients_are_seen_as_the_labs_own_users_are(four_slots: str, tmp_path: Path) -> None:
    """A generator's process, because Locust patches the standard library; a second for each trial."""
    (tmp_path / "shop.py").write_text(CLIENTS)
    digest = hashlib.sha256(CLIENTS.encode()).hexdigest()
    locust_file = LocustFile(path="shop.py", files={"shop.py": digest})
    of_lab = testing.application(
        requests={"orders": Request(method="GET", path="/orders")}, mixes={"shop": {"orders": 1.0}}
    )
    reports = dict(generated(four_slots, of_lab, {"http": "Http", "fast": "Fast"}, locust_file))

    for name, report in reports.items():
        assert (report["failures"], report["cut_off"]) == (0, 0), (name, report)
        assert report["in_flight"]["peak"] == SLOTS, name
        # What they did first is before the window.
        assert report["by_request"].keys() == {"orders"}, name
        assert report["by_request"]["orders"]["completed"] == report["completed"], name
        assert report["completed"] > SLOTS, name
        assert report["parts"]["service"]["mean"] >= 20, name


def generated(
    base_url: str, of_lab: Application, users: Mapping[str, str], file: LocustFile
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name -> the report of a trial, of the lab's users and of those of a Locust file, all by one generator."""
    specs = {"shop": TrialSpec(locustfile="application", options=usual(of_lab), **conditions(base_url))}
    for name, user in users.items():
        own = LocustFile(path=file.path, user=user, files=file.files)
        specs[name] = TrialSpec(locustfile="", options={}, own=own, **conditions(base_url))
    argv = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-m", "wsgilab.load.driver"]
    root = Path(own_locustfile.__file__).resolve().parents[2]
    with subprocess.Popen(
        argv, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as generator:
        assert generator.stdin is not None
        assert generator.stdout is not None
        assert json.loads(generator.stdout.readline())["event"] == "ready"
        archive = locust_folders(testing.application(locust_files={"browse": file}))["."].archive()
        brought = {"op": "folder", "folder": ".", "archive": base64.b64encode(archive).decode()}
        generator.stdin.write(json.dumps(brought) + "\n")
        generator.stdin.flush()
        assert json.loads(generator.stdout.readline())["event"] == "folder"
        for name, spec in specs.items():
            report = trial(generator.stdin, generator.stdout, spec)
            # On a busy machine the load may settle only as a short window ends, or the server hardly have a turn in it.
            for _ in range(20):
                if report["parts"] is not None and report["completed"] > SLOTS <= report["in_flight"]["peak"]:
                    break
                report = trial(generator.stdin, generator.stdout, spec)
            yield name, report
        generator.stdin.close()


def trial(orders: IO[str], told: IO[str], spec: TrialSpec) -> dict[str, Any]:
    """The report of one."""
    message: dict[str, Any] = {"op": "trial", **asdict(spec)}
    while message.get("event") != "report":
        orders.write(json.dumps(message) + "\n")
        orders.flush()
        message = json.loads(told.readline())
        assert message["event"] in ("window", "closed", "report"), message
        if message["event"] != "report":
            message = {"op": "read", "at": message["event"]}
    return message


def usual(of_lab: Application) -> dict[str, str | float | int]:
    return {"connection": "keep-alive", "request_timeout": 0, "application": users_option(of_lab, "shop")}


def conditions(base_url: str) -> dict[str, Any]:
    return {"base_url": base_url, "users": 8, "rate": None, "window_s": 0.4, "patience_s": 60.0}
