"""Engines, here and on other machines: which one is used, with which variables, and the error where none answers.

The docker client and ssh are scripts that stand before all others on PATH.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from docker.tls import TLSConfig

from tests.unit.said import table
from wsgilab import testing
from wsgilab.experiment.site import PLAIN_TCP
from wsgilab.model import SiteMachine
from wsgilab.model.errors import EngineError, LabError
from wsgilab.runtime import command, engine
from wsgilab.runtime.command import Compose
from wsgilab.runtime.engine import Endpoint, Engine, NoEngine, find, reach
from wsgilab.runtime.tunnel import tunnel

DOCKER = """
case "$1" in
  compose) echo 2.26.1;;
  context) cat "$here/context.json" 2>/dev/null || { echo "context not found" >&2; exit 1; };;
  version)
    echo "${DOCKER_HOST-} ${DOCKER_TLS_VERIFY-} ${DOCKER_CERT_PATH-} ${DOCKER_CONTEXT-}" >>"$here/asked"
    cat "$here/version" 2>/dev/null || { echo "Cannot connect to the Docker daemon." >&2; exit 1; };;
esac
"""
REMOTE = """
printf '%s\\n' "$@" >"$here/words"
for last; do :; done
sh -c "$last"
"""
"""An ssh that runs its remote command here."""


def put(folder: Path, name: str, script: str) -> None:
    """A program in `folder`, which it knows as `$here`."""
    program = folder / name
    program.write_text(f"#!/bin/sh\nhere='{folder}'\n{script}")
    program.chmod(0o755)


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the scripts, first on PATH. No variable of the user's chooses an engine."""
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    put(tmp_path, "docker", DOCKER)
    (tmp_path / "version").write_text("26.1.5\n")
    return tmp_path


def has_context(here: Path, host: str, *, material: list[str] | None = None, skip: bool = False, tls: str = "") -> None:
    """What the client is to tell of whatever context."""
    told = {
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip}},
        "TLSMaterial": {"docker": material} if material else {},
        "Storage": {"MetadataPath": "", "TLSPath": tls or str(here / "tls")},
    }
    (here / "context.json").write_text(json.dumps([told]))


def with_certificates(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in engine.CERTIFICATES:
        (folder / name).touch()
    return folder


def machine(address: str, *, tls: str = "", plain_tcp: bool = False) -> SiteMachine:
    return SiteMachine(
        name="alpha",
        engine=address,
        address="10.0.0.2",
        publish="10.0.0.2",
        ports="",
        cores="",
        tls=tls,
        plain_tcp=plain_tcp,
    )


def asked(here: Path) -> list[str]:
    """Whom the client asked for its version, last: host, whether with TLS, certificates, context."""
    return (here / "asked").read_text().splitlines()[-1].split(" ")


def refusal(address: str, *, tls: str = "", plain_tcp: bool = False) -> str:
    with pytest.raises(EngineError) as caught, reach(machine(address, tls=tls, plain_tcp=plain_tcp)):
        pytest.fail("was reached")
    assert caught.value.message.startswith("alpha: ")
    return caught.value.message


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# This machine's.


def test_the_engine_is_that_of_the_current_context(here: Path) -> None:
    has_context(here, "unix:///somewhere")
    assert find() == Engine(
        docker=str(here / "docker"),
        address="unix:///somewhere",
        endpoint=Endpoint(host="unix:///somewhere"),
        version="26.1.5",
        compose="2.26.1",
    )
    assert asked(here) == ["unix:///somewhere", "", "", ""], "told in so many words"


def test_an_old_client_earlier_on_path_does_not_hide_a_whole_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_context(here, "unix:///somewhere")
    (here / "old").mkdir()
    put(here / "old", "docker", "exit 1")
    monkeypatch.setenv("PATH", f"{here}/old:{here}:/usr/bin:/bin")
    found = find()
    assert isinstance(found, Engine)
    assert (found.docker, found.compose) == (str(here / "docker"), "2.26.1")


def test_a_context_with_certificates_is_used_with_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_context(here, "tcp://h:2376", material=list(engine.CERTIFICATES))
    folder = str(here / "tls" / "docker")
    assert endpoint(find()) == Endpoint(host="tcp://h:2376", tls=folder)
    assert asked(here) == ["tcp://h:2376", "1", folder, ""]

    has_context(here, "tcp://h:2376", material=list(engine.CERTIFICATES), tls="<IN MEMORY>")
    for variable, named in (("DOCKER_CONFIG", "/config"), ("DOCKER_CERT_PATH", "/certificates")):
        monkeypatch.setenv(variable, named)
        assert endpoint(find()) == Endpoint(host="tcp://h:2376", tls=named)


def endpoint(found: Engine | NoEngine) -> Endpoint:
    assert isinstance(found, Engine)
    return found.endpoint


def test_docker_host_counts_even_where_the_client_shows_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///mine")
    assert endpoint(find()) == Endpoint(host="unix:///mine")


def test_an_engine_of_another_machine_is_for_a_site_file(here: Path) -> None:
    has_context(here, "ssh://lab@h")
    assert find() == NoEngine(
        reason="ssh://lab@h is the engine of another machine", remedy="name it in a site file, and that with --site"
    )


@pytest.mark.parametrize(("version", "reason"), [("24.0.7", "is older than 25"), ("dev", "Docker Engine dev is older")])
def test_an_engine_that_is_too_old(version: str, reason: str, here: Path) -> None:
    has_context(here, "unix:///somewhere")
    (here / "version").write_text(version)
    found = find()
    assert isinstance(found, NoEngine)
    assert reason in found.reason
    assert reason in refusal("unix:///s")


# What Docker's client, Compose and Docker's library are told.


@pytest.mark.parametrize(
    ("used", "variables"),
    [
        (Endpoint(host="unix:///s"), {"DOCKER_HOST": "unix:///s"}),
        (
            Endpoint(host="tcp://h:1", tls="/c"),
            {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
        ),
    ],
)
def test_the_users_own_choice_of_an_engine_is_removed(
    used: Endpoint, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.setenv(variable, "mine")
    monkeypatch.setenv("ELSE", "kept")

    found = used.environment()
    assert {key: value for key, value in found.items() if key.startswith("DOCKER_")} == variables
    assert found["ELSE"] == "kept"


@pytest.mark.parametrize(("publish", "told"), [(None, "127.0.0.1"), ("10.0.0.2", "10.0.0.2"), ("fd00::1", "[fd00::1]")])
def test_compose_and_the_library_are_told_the_same_endpoint(
    publish: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(command, "_Client", lambda **words: given.update(words))
    monkeypatch.setattr(Compose, "has", lambda *_: False)
    folder = with_certificates(tmp_path / "c")
    found = Engine(
        docker="docker",
        address="tcp://h:1",
        endpoint=Endpoint(host="tcp://h:1", tls=str(folder)),
        version="26",
        compose="2",
    )
    made = Compose(tmp_path, found, "id", None, "8100-8199", *([publish] if publish else []))

    variables = made.environment("0")
    assert (variables["DOCKER_HOST"], variables["DOCKER_CERT_PATH"]) == ("tcp://h:1", str(folder))
    assert (variables["LAB_PORTS"], variables["LAB_PUBLISH"]) == ("8100-8199", told)
    tls = given["tls"]
    assert isinstance(tls, TLSConfig)
    assert given["base_url"] == "tcp://h:1"
    assert tls.cert == (str(folder / "cert.pem"), str(folder / "key.pem"))
    assert (tls.ca_cert, tls.verify) == (str(folder / "ca.pem"), True)


def test_rows_of_the_users_own_are_services_as_those_that_they_extend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_Client", lambda **_: None)
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "servers.yaml").write_text(
        "services:\n  base:\n    command: [gunicorn]\n    environment: {A: a, B: b}\n    mem_limit: 1g\n"
    )
    endpoint = Endpoint(host="unix:///s", tls="")
    found = Engine(docker="docker", address="unix:///s", endpoint=endpoint, version="26", compose="2")
    made = Compose(tmp_path, found, "id", None, "")
    base, more = testing.server("base"), testing.server("mine", extends="base", environment={"A": "c"})

    made.know([base, more], tmp_path / "generated" / "rows.yaml")
    assert made.server_files == [tmp_path / "compose" / "servers.yaml", tmp_path / "generated" / "rows.yaml"]
    assert yaml.safe_load(made.server_files[1].read_text()) == {
        "services": {"mine": {"command": ["gunicorn", "app:app"], "environment": {"A": "c"}, "mem_limit": "1g"}}
    }
    with pytest.raises(EngineError, match=r"servers\.yaml: has no gone any more, which a row extends"):
        made.know([testing.server("mine", extends="gone")], tmp_path / "rows.yaml")
    made.know([base], tmp_path / "rows.yaml")
    assert made.server_files == made.lab_files


def test_a_row_with_another_release_has_an_image_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_Client", lambda **_: None)
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "servers.yaml").write_text(
        "services: {base: {build: {target: server, args: {STACK: gunicorn, A: a}}, image: wsgilab/gunicorn}}\n"
    )
    endpoint = Endpoint(host="unix:///s", tls="")
    found = Engine(docker="docker", address="unix:///s", endpoint=endpoint, version="26", compose="2")
    made = Compose(tmp_path, found, "id", None, "")

    row = testing.server("base-23-0-0", extends="base", stack="gunicorn-at-gunicorn-23-0-0")
    made.know([row], tmp_path / "rows.yaml")

    service = yaml.safe_load((tmp_path / "rows.yaml").read_text())["services"]["base-23-0-0"]
    assert service["build"] == {"target": "server", "args": {"STACK": "gunicorn-at-gunicorn-23-0-0", "A": "a"}}
    assert service["image"] == "wsgilab/gunicorn-at-gunicorn-23-0-0:${LAB_TAG:-latest}"


def test_an_engine_is_held_against_its_own_certificates_whatever_the_public_networks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_certificates(tmp_path / "c")
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, "/etc/ssl/certs/ca-certificates.crt")
    tls = TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")), ca_cert=str(folder / "ca.pem"), verify=True
    )
    client = command._Client(base_url="tcp://h:1", tls=tls, version="1.44")
    sent = client.api.merge_environment_settings("https://h:1/version", {}, None, None, None)
    client.close()
    assert sent["verify"] == str(folder / "ca.pem")
    assert sent["cert"] == (str(folder / "cert.pem"), str(folder / "key.pem"))


# A machine of a site.


@pytest.mark.parametrize("variable", ["DOCKER_HOST", "DOCKER_CONTEXT"])
@pytest.mark.parametrize("named", ["cloud", "unix:///somewhere"])
def test_a_machine_is_the_engine_of_the_site_file_whatever_the_user_has_chosen(
    variable: str, named: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_context(here, "unix:///somewhere")
    monkeypatch.setenv(variable, "tcp://mine:1")
    with reach(machine(named)) as reached:
        assert (reached.address, reached.endpoint) == ("unix:///somewhere", Endpoint(host="unix:///somewhere"))
        assert (reached.version, reached.compose, reached.tunnel) == ("26.1.5", "2.26.1", None)
    assert asked(here) == ["unix:///somewhere", "", "", ""]


@pytest.mark.parametrize(("material", "skip"), [(None, False), (["ca.pem"], False), (list(engine.CERTIFICATES), True)])
def test_a_context_without_tls_is_refused_unless_the_site_says_so(
    material: list[str] | None, skip: bool, here: Path
) -> None:
    has_context(here, "tcp://h:2375", material=material, skip=skip)
    assert refusal("cloud") == (
        "alpha: tcp://h:2375 has no TLS: whoever reaches it is root there; use ssh://user@host, or tls: with a folder of "
        f'certificates; or accept that with plain_tcp: "{PLAIN_TCP}"'
    )
    assert not (here / "asked").exists(), "nobody may be spoken with before"
    with reach(machine("cloud", plain_tcp=True)) as reached:
        assert reached.endpoint == Endpoint(host="tcp://h:2375")


def test_certificates_are_those_of_the_folder_which_has_all(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_certificates(tmp_path / "certs")
    monkeypatch.chdir(tmp_path)
    with reach(machine("tcp://h:2376", tls="certs")) as reached:
        # Compose runs in another folder.
        assert reached.endpoint == Endpoint(host="tcp://h:2376", tls=str(folder))
    assert asked(here)[:3] == ["tcp://h:2376", "1", str(folder)]
    (folder / "key.pem").unlink()
    message = refusal("tcp://h:2376", tls=str(folder))
    assert message.startswith(f"alpha: the folder {folder} lacks key.pem; tls needs ca.pem, cert.pem, key.pem")


@pytest.mark.parametrize(
    ("context", "engine_name", "begin", "end"),
    table(
        """
         | cloud | no Docker context 'cloud' (context not found); make one | by its address
         | tcp://h:2375 | tcp://h:2375 has no TLS |
        npipe:////./pipe/docker | cloud | the engine of context 'cloud' is at npipe:////./pipe/docker | or tcp://
        fd:// | cloud | the engine of context 'cloud' is at fd://, which cannot be used; name one at | tcp://
        ssh://-oProxyCommand=true | cloud |  | such as ssh://user@host; change the Docker context 'cloud'
         | unix:///s | no Docker engine answers at unix:///s (Cannot connect to the Docker | this machine reach it
        """
    ),
)
def test_an_engine_that_cannot_be_used(context: str, engine_name: str, begin: str, end: str, here: Path) -> None:
    (here / "version").unlink()
    if context:
        has_context(here, context)
    message = refusal(engine_name)
    assert message.removeprefix("alpha: ").startswith(begin)
    assert message.endswith(end)


def test_a_client_that_hangs_and_one_without_compose(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    put(here, "docker", '[ "$1" = compose ] && echo 2.26.1 || /bin/sleep 60')
    # That it answers is known from now on, however busy the machine is.
    assert engine._compose_version(str(here / "docker")) == "2.26.1"
    monkeypatch.setattr(engine, "_ANSWER_S", 0.5)
    assert f"({here / 'docker'} did not end within 0.5 s)" in refusal("unix:///somewhere")
    put(here, "docker", "exit 1")
    assert refusal("unix:///s").startswith(
        f"alpha: the docker client {here / 'docker'} has no Compose plug-in; install"
    )


def test_a_client_is_asked_for_its_compose_once_for_as_long_as_it_has_one(here: Path) -> None:
    has_context(here, "unix:///somewhere")
    asked = here / "composed"
    put(here, "docker", f'[ "$1" = compose ] && echo . >> "$here/composed"\n{DOCKER}')
    for _ in range(3):
        assert isinstance(find(), Engine)
    assert len(asked.read_text().split()) == 1
    put(here, "docker", 'echo . >> "$here/composed"\nexit 1')
    # There may be another client behind it.
    for times in (2, 3):
        find()
        assert len(asked.read_text().split()) == times


# By SSH.


def test_an_engine_is_brought_here_by_one_ssh_and_nothing_is_left_of_it(here: Path) -> None:
    put(here, "ssh", REMOTE)
    with reach(machine("ssh://lab@far:2222/run/d.sock")) as reached:
        assert reached.address == "ssh://lab@far:2222/run/d.sock"
        assert reached.tunnel is not None
        socket = reached.tunnel.socket
        assert reached.endpoint == Endpoint(host=f"unix://{socket}")
        assert asked(here)[0] == f"unix://{socket}"
        assert socket.parent.stat().st_mode & 0o777 == 0o700, "whoever reaches it is root there"
        words = (here / "words").read_text().splitlines()
        assert words[words.index("-L") + 1] == f"{socket}:/run/d.sock"
        assert words[words.index("-L") + 2 : -1] == ["-l", "lab", "-p", "2222", "--", "far"]
        assert {"BatchMode=yes", "ControlPath=none", "ExitOnForwardFailure=yes"} <= set(words)
        assert reached.tunnel.failure() is None
    assert not socket.parent.exists()
    assert isinstance(reached.tunnel.failure(), str)


def test_a_context_may_be_at_an_address_of_ssh_whose_login_script_prints_something(here: Path) -> None:
    has_context(here, "ssh://lab@far")
    put(here, "ssh", f"echo 'Welcome!'; echo; echo '{{}}'\n{REMOTE}")
    with reach(machine("cloud")) as reached:
        assert reached.address == "ssh://lab@far"
        assert reached.tunnel is not None
        assert reached.tunnel.failure() is None
    words = (here / "words").read_text().splitlines()
    assert words[words.index("-L") + 1].endswith(":/var/run/docker.sock")
    assert words[-4:-1] == ["lab", "--", "far"]


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (
            "echo first >&2; echo 'lab@far: Permission denied (publickey).' >&2; exit 255",
            "Permission denied (publickey)",
        ),
        (
            """{
                echo 'bind [::1]:1: Address already in use'
                echo 'channel_setup_fwd_listener_tcpip: cannot listen to port: 1'
                echo 'Could not request local forwarding.'
                exit 255
            } >&2""",
            "bind [::1]:1: Address already in use",
        ),
        ("exit 255", "ssh has ended with exit code 255"),
    ],
)
def test_an_ssh_that_fails_is_quoted_with_its_last_line(script: str, cause: str, here: Path) -> None:
    put(here, "ssh", script)
    message = refusal("ssh://lab@far:2222")
    assert message.startswith("alpha: ssh://lab@far:2222 is not reached: ")
    assert f"{cause}; make `ssh -p 2222 lab@far true` work without a question" in message


def test_a_machine_without_ssh_and_an_ssh_without_an_answer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgilab.runtime.tunnel._READY_S", 1.0)
    put(here, "docker", DOCKER.replace("cat", "/bin/cat"))
    monkeypatch.setenv("PATH", str(here))
    assert "alpha: ssh does not start (No such file or directory); install an OpenSSH client" in refusal("ssh://far")
    put(here, "ssh", "exec /bin/sleep 60")
    assert "is not reached: no answer within 1 s; make" in refusal("ssh://far")


def test_an_engine_that_ssh_does_not_reach_there(here: Path) -> None:
    (here / "version").unlink()
    put(here, "ssh", f"echo 'channel 2: open failed: connect failed' >&2\n{REMOTE}")
    message = refusal("ssh://far")
    assert "no Docker engine answers at ssh://far (channel 2: open failed: connect failed); start it there" in message
    assert "group docker" in message


def test_a_lost_connection_is_noticed_with_its_reason(here: Path) -> None:
    put(
        here,
        "ssh",
        """echo '"ready"'; while [ ! -e "$here/cut" ]; do sleep 0.02; done; echo 'Connection reset by peer' >&2; exit 255""",
    )
    with tunnel("alpha", "ssh://far") as through:
        assert through.failure() is None
        (here / "cut").touch()
        wait_for(through.failure)
        assert through.failure() == "Connection reset by peer"


def test_a_port_is_forwarded_by_an_ssh_of_its_own(here: Path) -> None:
    put(here, "ssh", REMOTE)
    with tunnel("alpha", "ssh://lab@far") as through:
        for host, local in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            with through.forward(host, 8089, 18089):
                assert f"{local}:8089:127.0.0.1:18089" in (here / "words").read_text().splitlines()
                assert len(children_of_ssh(here)) == 2
            assert len(children_of_ssh(here)) == 1
        assert through.failure() is None


def children_of_ssh(here: Path) -> list[psutil.Process]:
    """The ssh processes that run."""
    return [each for each in psutil.process_iter(["cmdline"]) if str(here / "ssh") in (each.info["cmdline"] or ())]


def test_ssh_ends_when_the_lab_is_killed(here: Path) -> None:
    put(here, "ssh", REMOTE)
    lab = """
from wsgilab.runtime.tunnel import tunnel
with tunnel("alpha", "ssh://far"):
    print("up", flush=True)
    input()
"""
    # What it could not clean away goes with the folder.
    with subprocess.Popen(
        [sys.executable, "-c", lab],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(here)},
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        assert len(children_of_ssh(here)) == 1
        killed.send_signal(signal.SIGKILL)
    wait_for(lambda: not children_of_ssh(here))


def test_a_failure_within_is_told_as_it_is_and_ends_ssh_all_the_same(here: Path) -> None:
    put(here, "ssh", REMOTE)
    with pytest.raises(LabError, match="mine"), reach(machine("ssh://far")):
        raise LabError("mine")
    assert not children_of_ssh(here)
