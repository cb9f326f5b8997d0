"""The examples in deploy/ and docs/cloud.md: data that a user takes as it is, held against the code that reads it."""

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import hcl2
import pytest
import yaml

from wsgilab.experiment import catalogue
from wsgilab.experiment.site import PLAIN_TCP, parse_site
from wsgilab.model import Site
from wsgilab.model.site import MASTER_PORT
from wsgilab.runtime import command, engine, tunnel
from wsgilab.system.ports import port_range

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CLOUD = (ROOT / "docs" / "cloud.md").read_text()
PLACEHOLDER = "OPERATOR_PUBLIC_KEY"
SERVERS = catalogue.parse((ROOT / "compose" / "servers.yaml").read_text(), "servers.yaml")
TERRAFORM = (DEPLOY / "main.tf").read_text()
LISTENING_ENGINE = re.compile(r"\b237[56]\b|tcp://|daemon\.json|dockerd|--tls")
"""How an engine is made to listen on the network."""


def blocks(language: str) -> Sequence[str]:
    """What docs/cloud.md shows in that language."""
    found = re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", CLOUD, re.MULTILINE | re.DOTALL)
    return [dedent(each[2]) for each in found]


# Sites.


def assert_has_room(site: Site) -> None:
    """For every server of the catalogue, and the clock_server."""
    for machine in site.targets:
        assert len(port_range(machine.ports)) >= len(SERVERS) + 1


def test_the_example_is_a_site() -> None:
    site = parse_site((DEPLOY / "sites.yaml").read_text(), "sites.yaml")
    assert len(site.lanes) == 1
    assert_has_room(site)


def test_every_site_in_the_documentation_is_one() -> None:
    shown = [text for text in blocks("yaml") if text.startswith("targets:")]
    assert len(shown) >= 3
    for text in shown:
        assert_has_room(parse_site(text, "docs/cloud.md"))


def test_every_key_of_a_site_is_explained() -> None:
    properties = yaml.safe_load((ROOT / "schemas" / "site.json").read_text())["$defs"]["MachineEntry"]["properties"]
    assert {name for name in properties if f"| `{name}` |" in CLOUD} == set(properties)


# User data of cloud-init. Its whole file was held against the schema of cloud-init 25.1.4, which no package index has.


@pytest.fixture
def user_data() -> Mapping[str, Any]:
    text = (DEPLOY / "cloud-init.yaml").read_text()
    # What tells cloud-init that it is not, say, a script.
    assert text.startswith("#cloud-config\n")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_user_data_has_keys_that_cloud_init_knows(user_data: Mapping[str, Any]) -> None:
    known = "package_update package_upgrade packages groups users ssh_pwauth disable_root write_files runcmd"
    assert set(user_data) == set(known.split())
    [user] = user_data["users"]
    assert set(user) == {"name", "gecos", "groups", "shell", "lock_passwd", "ssh_authorized_keys"}


def test_user_data_lets_in_nobody_but_the_operator_by_a_key(user_data: Mapping[str, Any]) -> None:
    [user] = user_data["users"]
    assert user["ssh_authorized_keys"] == [PLACEHOLDER]
    assert user["lock_passwd"] is True
    assert user["groups"] == ["docker"]
    assert (user_data["ssh_pwauth"], user_data["disable_root"]) == (False, True)
    assert "docker.io" in user_data["packages"]


def test_user_data_has_no_secret_and_no_engine_that_listens(user_data: Mapping[str, Any]) -> None:
    values = yaml.safe_dump(user_data)
    assert not re.search(r"PRIVATE KEY|passw(or)?d: *[^t\s]|ssh-(rsa|ed25519) |token|secret", values)
    assert not LISTENING_ENGINE.search(values)
    assert {each["path"] for each in user_data["write_files"]} == {"/etc/sysctl.d/90-lab.conf"}


def test_the_commands_of_user_data_are_of_the_shell(user_data: Mapping[str, Any]) -> None:
    for each in user_data["runcmd"]:
        if isinstance(each, str):
            subprocess.run(["sh", "-n", "-c", each], check=True, timeout=120)
        else:
            assert all(isinstance(word, str) for word in each)
    [settings] = user_data["write_files"]
    assert all(re.fullmatch(r"[a-z_.]+ = [0-9]+", line) for line in settings["content"].splitlines())


# Terraform. It was not applied anywhere: what can be told of it without an account is here.


@pytest.fixture(scope="module")
def terraform() -> Mapping[str, Any]:
    parsed: dict[str, Any] = _plain(hcl2.loads(TERRAFORM))
    return parsed


def _plain(value: Any) -> Any:
    """Without the quotes, and the notes of its own, that the parser leaves."""
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(each) for key, each in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


def ingress(terraform: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each rule that lets something in, and of which security group."""
    for resource in terraform["resource"]:
        for name, group in resource.get("aws_security_group", {}).items():
            yield from ((name, rule) for rule in group["ingress"])


def test_terraform_opens_the_ports_that_are_needed_and_no_others(terraform: Mapping[str, Any]) -> None:
    opened = [
        (
            name,
            *(rule.get(key) for key in ("protocol", "from_port", "to_port", "cidr_blocks", "self", "security_groups")),
        )
        for name, rule in ingress(terraform)
    ]
    first, last = '${split("-", local.ports)[0]}', '${split("-", local.ports)[1]}'
    assert opened == [
        ("lab", "tcp", 22, 22, ["${var.operator}"], None, None),
        ("swarm", "tcp", "${local.master}", "${local.master}", None, True, None),
        ("targets", "tcp", first, last, None, None, ["${aws_security_group.swarm.id}"]),
    ]
    assert not LISTENING_ENGINE.search(TERRAFORM)


def test_the_ports_are_those_of_the_code_and_of_the_documentation(terraform: Mapping[str, Any]) -> None:
    [constants] = terraform["locals"]
    [machine] = parse_site((DEPLOY / "sites.yaml").read_text(), "sites.yaml").targets
    assert constants["ports"] == machine.ports
    assert constants["master"] == MASTER_PORT
    ports = re.search(r"^## Ports$(.*?)^## ", CLOUD, re.MULTILINE | re.DOTALL)
    assert ports is not None
    rows = re.findall(r"^\| `?([0-9][0-9-]*)`?", ports[1], re.MULTILINE)
    assert rows == ["22", constants["ports"], str(constants["master"])]


def test_all_that_terraform_refers_to_is_there(terraform: Mapping[str, Any]) -> None:
    def named(blocks: Sequence[Mapping[str, Mapping[str, Any]]]) -> set[str]:
        return {f"{kind}.{name}" for block in blocks for kind, each in block.items() for name in each}

    text = "\n".join(line.partition("#")[0] for line in TERRAFORM.splitlines())
    declared = {name for block in terraform["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    assert set(re.findall(r"\blocal\.(\w+)", text)) == set(terraform["locals"][0])
    resources, data = named(terraform["resource"]), {f"data.{name}" for name in named(terraform["data"])}
    assert set(re.findall(r"(?<!data\.)\b(aws_\w+\.\w+)", text)) <= resources
    assert set(re.findall(r"\b(data\.\w+\.\w+)", text)) == data
    files = re.findall(r"\$\{path\.module\}/([\w.-]+)", text)
    assert files
    assert all((DEPLOY / name).is_file() for name in files)
    assert f'"{PLACEHOLDER}"' in text
    # Options that the head of the file shows.
    assert set(re.findall(r"-var (\w+)=", TERRAFORM)) == {
        name for block in terraform["variable"] for name, each in block.items() if "default" not in each
    }


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """A template of Terraform's as far as ours goes: loops over lists, and attributes of what is in them."""

    def value(path: str, known: Mapping[str, Any]) -> Any:
        found: Any = known
        for part in path.split("."):
            found = found[part]
        return found

    def text(part: str, known: Mapping[str, Any]) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda match: str(value(match[1], known)), part)

    def loop(match: re.Match[str]) -> str:
        return "".join(text(match[3], {**values, match[1]: each}) for each in values[match[2]])

    # The marker ~ takes the end of the line with it.
    loops = re.sub(r"%\{ for (\w+) in (\w+) ~\}\n(.*?)%\{ endfor ~\}\n", loop, template, flags=re.DOTALL)
    assert "%{" not in loops
    return text(loops, values)


@pytest.mark.parametrize(("targets", "swarm"), [(1, 1), (2, 4)])
def test_terraform_writes_a_site(terraform: Mapping[str, Any], targets: int, swarm: int) -> None:
    [constants] = terraform["locals"]

    def machines(kind: str, count: int, third: int) -> list[dict[str, Any]]:
        prefix = re.search(r'"(\w+-)\$\{n \+ 1\}"', constants[kind])
        assert prefix is not None
        return [
            {
                "tags": {"Name": f"{prefix[1]}{n}"},
                "public_ip": f"203.0.113.{third}{n}",
                "private_ip": f"172.31.{third}.{n}",
            }
            for n in range(1, count + 1)
        ]

    [output] = terraform["output"]
    given = {
        "ports": constants["ports"],
        "master": constants["master"],
        "targets": machines("targets", targets, 1),
        "swarm": machines("swarm", swarm, 2),
    }
    passed = re.search(r"sites\.yaml\.tftpl\", \{(.*)\}\)\}$", output["sites"]["value"])
    assert passed is not None
    assert set(re.findall(r"(\w+) = ", passed[1])) == set(given)
    site = parse_site(rendered((DEPLOY / "sites.yaml.tftpl").read_text(), given), "sites.yaml")
    assert [len(others) for _, others in site.lanes] == [swarm // targets] * targets
    assert_has_room(site)
    assert {each.address for each in site.targets} == {each["private_ip"] for each in given["targets"]}
    assert {each.engine for each in site.swarm} == {f"ssh://lab@{each['public_ip']}" for each in given["swarm"]}
    assert {each.ports for each in site.swarm} == {str(MASTER_PORT)}


# The documentation.


def test_messages_are_explained_as_the_lab_words_them() -> None:
    words = "\n".join(path.read_text() for path in (ROOT / "wsgilab").rglob("*.py"))
    # A message that goes over several lines of the code.
    words = re.sub(r"[\"']\s*\n\s*f?[\"']", "", words)
    table = re.search(r"^## What may go wrong$(.*?)^## ", CLOUD, re.MULTILINE | re.DOTALL)
    assert table is not None
    quoted = re.findall(r"^\| `([^`]+)` \|", table[1], re.MULTILINE)
    assert len(quoted) >= 10
    for message in quoted:
        # Where names and figures stand.
        for part in message.split("..."):
            assert part.strip() in words, message


def test_what_the_documentation_says_of_the_code_is_so() -> None:
    assert PLAIN_TCP in CLOUD
    assert f"Docker Engine {engine.OLDEST_ENGINE}" in CLOUD
    assert command.DEFAULT_BASE in CLOUD
    assert tunnel.SOCKET in CLOUD
    assert all(f"`{name}`" in CLOUD for name in engine.CERTIFICATES)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_certificates_of_the_documentation_let_the_two_trust_each_other(tmp_path: Path) -> None:
    [recipe] = [text for text in blocks("sh") if "openssl" in text]
    subprocess.run(["sh", "-eu", "-c", recipe], check=True, cwd=tmp_path, capture_output=True, timeout=240)
    folder = tmp_path / "certs" / "alpha"
    assert sorted(each.name for each in folder.iterdir()) == sorted(engine.CERTIFICATES)
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server" / "cert.pem", tmp_path / "server" / "key.pem")
    server.load_verify_locations(tmp_path / "server" / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    # As Go, and so Docker, reads certificates: strictly.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    assert _shake_hands(client, server, "10.0.0.10")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(client, server, "10.0.0.11")
    stranger = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with pytest.raises(ssl.SSLError):
        _shake_hands(stranger, server, "10.0.0.10")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, address: str) -> bool:
    """Whether both are content with each other. Raises SSLError where one is not."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=address),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done: set[int] = set()
    for _ in range(10):
        for side, each in enumerate(sides):
            try:
                each.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    return len(done) == len(sides)
