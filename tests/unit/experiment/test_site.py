"""Sites: from a file to machines, and what is refused with which words."""

import pytest

from tests.unit.said import refusal as refused_by
from wsgilab.experiment.site import PLAIN_TCP, SshAddress, parse_site, ssh_address
from wsgilab.model import Site, SiteMachine
from wsgilab.model.errors import SpecError

BETA = "{name: beta, engine: b, address: 10.0.0.3}"


def parse(targets: str, swarm: str = BETA) -> Site:
    return parse_site(f"targets: [{targets}]\nswarm: [{swarm}]\n", "s.yaml")


def target(more: str) -> SiteMachine:
    """The one target of a file, with these keys and the others as they need to be."""
    keys = {"engine": "a", "address": "10.0.0.2"}
    usual = [f"{key}: {value}" for key, value in keys.items() if f"{key}:" not in more.replace("publish:", "")]
    (machine,) = parse("{" + ", ".join([*usual, more]) + "}").targets
    return machine


def refusal(targets: str, swarm: str = BETA) -> str:
    return refused_by(SpecError, parse, targets, swarm)


def refused(more: str) -> str:
    return refused_by(SpecError, target, more)


# What a file says.


def test_a_machine_has_what_its_entry_says() -> None:
    assert target(
        "name: alpha, engine: 'tcp://10.0.0.2:2376', address: alpha.example, publish: 10.0.0.2, ports: 8100-8199, "
        "cores: '3,0-1', tls: certs/alpha"
    ) == SiteMachine(
        name="alpha",
        engine="tcp://10.0.0.2:2376",
        address="alpha.example",
        publish="10.0.0.2",
        ports="8100-8199",
        cores="0-1,3",
        tls="certs/alpha",
        plain_tcp=False,
    )


def test_what_an_entry_leaves_out_has_a_default() -> None:
    site = parse("{engine: a, address: 10.0.0.2}", "{engine: b, address: 10.0.0.3}, {engine: c, address: 10.0.0.4}")

    assert [each.name for each in (*site.targets, *site.swarm)] == ["target-1", "swarm-1", "swarm-2"]
    (alpha,) = site.targets
    assert (alpha.publish, alpha.ports, alpha.cores, alpha.tls, alpha.plain_tcp) == ("10.0.0.2", "", "", "", False)
    assert [each.ports for each in site.swarm] == ["5557", "5557"], "Locust's own"


def test_machines_of_the_swarm_are_dealt_out_in_order() -> None:
    site = parse(
        "{name: a, engine: a, address: 10.0.0.1}, {name: b, engine: b, address: 10.0.0.2}",
        ", ".join(f"{{name: {name}, engine: {name}, address: 10.0.1.1}}" for name in ("c", "d", "e", "f")),
    )
    assert [(one.name, [each.name for each in others]) for one, others in site.lanes] == [
        ("a", ["c", "d"]),
        ("b", ["e", "f"]),
    ]


KNOWN = """
    default cloud-a my.context+1 unix:///var/run/docker.sock ssh://host ssh://lab@10.0.0.2
    ssh://lab@my_alias:2222/run/user/1000/docker.sock ssh://lab@[fd00::1]:22
"""


@pytest.mark.parametrize(
    ("key", "written", "read"),
    [
        # A single one may be a number.
        *(("ports", written, read) for written, read in (("8100", "8100"), ("'8100'", "8100"), ("9-9", "9-9"))),
        *(("cores", written, read) for written, read in (("0", "0"), ("'1'", "1"), ("0-3", "0-3"), ("'2,0,1'", "0-2"))),
        *(("engine", f"'{each}'", each) for each in KNOWN.split()),
        ("engine", "'ssh://h/'", "ssh://h"),
        ("address", "'10.0.0.2'", "10.0.0.2"),
        ("address", "'fd00:0::1'", "fd00::1"),
        ("address", "'FD00::1'", "fd00::1"),
    ],
)
def test_what_can_be_spelt_in_several_ways_is_read_in_one(key: str, written: str, read: str) -> None:
    assert getattr(target(f"{key}: {written}"), key) == read


# What is refused.


@pytest.mark.parametrize(
    "engine",
    [
        "-oProxyCommand=x",
        "ssh://-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://lab@-host",
        "ssh://lab@host -v",
        "ssh://lab@host;true",
        "ssh://$HOME",
        "ssh://host/%h",
        "ssh://host/a:b",
        "ssh://",
        "unix://relative",
        "unix:///a b",
        "tcp://host",
        "http://host:1",
        "a context",
        "a\\nb",
        "ssh://host\\n",
        "ssh://host\\x00",
        "ssh://host\\x1b[31m",
        "",
    ],
)
def test_an_engine_that_could_be_an_option_or_more_than_an_address(engine: str) -> None:
    message = refused(f'engine: "{engine}"')
    assert message.startswith("s.yaml: targets[0].engine: must be a Docker context's name, or unix:///path, ssh://")


@pytest.mark.parametrize("engine", ["ssh://h:0", "ssh://h:65536", "tcp://h:99999"])
def test_a_port_that_is_none(engine: str) -> None:
    assert "targets[0].engine: must have a port from 1 to 65535" in refused(f"engine: '{engine}', tls: certs")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("address: 10.0.0.256", "targets[0].address: must be a name or an IP address"),
        ("address: -a", "targets[0].address: must be"),
        ("address: a b", "targets[0].address: must be"),
        ("address: a..b", "targets[0].address: must be"),
        ("address: 'fe80::1%eth0'", "targets[0].address: must be"),
        ("address: 1", "targets[0].address: input should be a valid string"),
        ("address: alpha.example", "targets[0]: lacks the key 'publish', an IP address of that machine's own"),
        ("publish: alpha.example", "targets[0].publish: must be an IP address of that machine's own"),
        ("ports: 0", "targets[0].ports: must be a port or a range from 1 to 65535"),
        ("ports: 9-8", "targets[0].ports: must be a port or a range from 1 to 65535"),
        ("ports: 8100-", "targets[0].ports: must be a port or a range such as 8100-8199"),
        ("ports: true", "targets[0].ports: must be a port or a range such as 8100-8199"),
        ("cores: 3-1", "targets[0].cores: must be a list of cores such as 0,2-3, not '3-1'"),
        ("cores: 0-99999", "targets[0].cores: must be a list of cores such as 0,2-3"),
        ("cores: all", "targets[0].cores: must be a list of cores such as 0,2-3"),
        ("name: Alpha", "targets[0].name:"),
        ("nam: alpha", "unknown key 'targets[0].nam'; known are name, engine, address, publish"),
        ("name: beta", "two machines are called 'beta'"),
        ("tls: certs", "targets[0].tls: is for an engine at tcp://, and a is none"),
        ('engine: "tcp://h:1", tls: "a\\nb"', "targets[0].tls:"),
    ],
)
def test_a_value_that_is_not_right_is_told_with_its_place(more: str, told: str) -> None:
    assert f"s.yaml: {told}" in refused(more)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "'::1'", "0.0.0.0"])
def test_targets_need_an_address_that_others_reach(address: str) -> None:
    assert "leads every container to itself" in refused(f"address: {address}, publish: 127.0.0.1")


def test_so_does_the_master_but_only_where_others_are_to_reach_it() -> None:
    alpha = "{engine: a, address: 10.0.0.2}"
    own = "{name: beta, engine: b, address: 127.0.0.1}"
    assert parse(alpha, own).swarm[0].address == "127.0.0.1"
    assert "beta: address 127.0.0.1 leads" in refusal(alpha, f"{own}, {{engine: c, address: 10.0.0.4}}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "is not a site; it must begin with keys such as targets and swarm"),
        ("targets: []\nswarm: []", "targets: list should have at least 1 item"),
        ("targets: [{engine: a, address: 10.0.0.1}]", "lacks the key 'swarm'"),
        ("targets: [a]\nswarm: []", "targets[0]: must be a mapping with keys such as name, engine and address"),
        ("target: []", "unknown key 'target'; known are targets, swarm"),
    ],
)
def test_a_file_that_is_no_site(text: str, told: str) -> None:
    assert refused_by(SpecError, parse_site, text, "s.yaml").startswith(f"s.yaml: {told}")


def test_a_swarm_that_cannot_be_dealt_out_evenly() -> None:
    message = refusal("{engine: a, address: 10.0.0.1}, {engine: c, address: 10.0.0.2}")
    assert message == ("s.yaml: swarm: 1 machines cannot be dealt out evenly to 2 of targets; name 2, or a multiple")


def test_two_targets_are_two_engines_whatever_their_cores() -> None:
    message = refusal("{engine: a, address: 10.0.0.1, cores: 0}, {engine: a, address: 10.0.0.1, cores: 1}")
    assert message.startswith("s.yaml: target-1 and target-2 are the same engine, a: blocks on both")


@pytest.mark.parametrize(
    ("alpha", "beta", "told"),
    [
        ("", "", "the same engine, a: give cores of both, with none in common"),
        (", cores: 0", "", "the same engine, a: give cores of both, with none in common"),
        (", cores: 0-2", ", cores: 1-3", "the same engine, a, and share its cores 1-2; give each its own"),
    ],
)
def test_an_engine_for_both_needs_cores_for_each(alpha: str, beta: str, told: str) -> None:
    entry = "{{engine: a, address: 10.0.0.1{}}}"
    assert told in refusal(entry.format(alpha), entry.format(beta))
    site = parse(entry.format(", cores: 0"), entry.format(", cores: 1"))
    assert (site.targets[0].cores, site.swarm[0].cores) == ("0", "1")


def test_two_masters_on_one_engine_need_two_ports() -> None:
    targets = "{engine: a, address: 10.0.0.1}, {engine: b, address: 10.0.0.2}"
    swarm = "{{engine: c, address: 10.0.1.1, cores: 0, ports: {}}}, {{engine: d, address: 10.0.1.2}}"
    other = "{engine: c, address: 10.0.1.1, cores: 1}, {engine: e, address: 10.0.1.3}"

    assert "both have Locust's master at port 5557" in refusal(targets, f"{swarm.format(5557)}, {other}")
    assert [each.ports for each in parse(targets, f"{swarm.format(5600)}, {other}").swarm][::2] == ["5600", "5557"]


# An engine without TLS.


def test_an_engine_without_tls_is_refused_with_what_to_do_instead() -> None:
    message = refused("engine: 'tcp://10.0.0.2:2375'")
    assert message == (
        "s.yaml: targets[0].engine: tcp://10.0.0.2:2375 has no TLS: whoever reaches it is root there; use ssh://user@host, "
        'or tls: with a folder of certificates; or accept that with plain_tcp: "whoever reaches it is root there"'
    )


@pytest.mark.parametrize(
    "given", ["true", "yes", "'true'", "whoever reaches it is root", "Whoever reaches it is root there"]
)
def test_other_words_do_not_suffice(given: str) -> None:
    assert "targets[0].plain_tcp:" in refused(f"engine: 'tcp://10.0.0.2:2375', plain_tcp: {given}")


@pytest.mark.parametrize("engine", ["engine: 'ssh://h'", "engine: 'unix:///s'", "engine: 'tcp://h:2376', tls: certs"])
def test_the_words_are_refused_where_they_mean_nothing(engine: str) -> None:
    assert "leave it out" in refused(f"{engine}, plain_tcp: {PLAIN_TCP}")


@pytest.mark.parametrize("engine", ["tcp://10.0.0.2:2375", "cloud"])
def test_it_is_accepted_in_so_many_words_also_of_a_context_which_may_need_them(engine: str) -> None:
    assert target(f"engine: '{engine}', plain_tcp: {PLAIN_TCP}").plain_tcp


# An address of SSH.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ssh://h", ("", "h", "", "")),
        ("ssh://h/", ("", "h", "", "")),
        ("ssh://lab@h:22/run/d.sock", ("lab", "h", "22", "/run/d.sock")),
        ("ssh://lab@[fd00::1]:22", ("lab", "fd00::1", "22", "")),
    ],
)
def test_the_parts_of_an_address(text: str, parts: tuple[str, str, str, str]) -> None:
    user, host, port, path = parts
    assert ssh_address(text) == SshAddress(user=user, host=host, port=port, path=path)


@pytest.mark.parametrize("text", ["ssh://-x", "ssh://a@b@c", "h", "ssh://h\n", "ssh://h:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no address such as ssh://user@host"):
        ssh_address(text)
