"""What a machine of the swarm knows of the way to the targets' machine."""

import pytest

from tests.elsewhere import DAY_NS, clock_server
from wsgilab.load import reachability
from wsgilab.load.reachability import NetworkReading, Reachability, Unreachable, segments_between

SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 7
Tcp: RtoAlgorithm InSegs OutSegs RetransSegs InErrs
Tcp: 1 10 20 3 0
Udp: InDatagrams
Udp: 5
"""


def reading(namespace: str, sent: int, resent: int) -> NetworkReading:
    return NetworkReading(
        offset_ns=0, round_trip_ms=1.0, namespace=namespace, sent_segments=sent, resent_segments=resent
    )


def test_segments_are_read_by_name() -> None:
    assert reachability._segments(SNMP) == (20, 3)


def test_segments_between_two_readings_are_counted_once_for_each_network_namespace() -> None:
    before = [reading("alpha", 100, 1), reading("alpha", 101, 1), reading("beta", 1000, 50)]
    after = [reading("alpha", 150, 3), reading("alpha", 150, 3), reading("beta", 1700, 51)]

    sent, resent = segments_between(before, after)

    assert (sent, resent) == (49 + 700, 2 + 1)


def test_segments_of_a_namespace_that_is_seen_once_are_unknown() -> None:
    assert segments_between([reading("alpha", 100, 1)], [reading("beta", 200, 2)]) == (0, 0)


def test_a_reading_has_the_clock_and_the_network() -> None:
    with clock_server(DAY_NS) as port:
        network = Reachability(f"127.0.0.1:{port}")
        first, second = network.read(1), network.read(1)
        network.close()

    # It is off by no more than half of the fastest of its exchanges took, of which the round trip is the median.
    assert first.offset_ns == pytest.approx(DAY_NS, abs=first.round_trip_ms * 1e6 / 2 + 1)
    assert first.namespace == second.namespace
    # Nine questions and nine answers, on one machine.
    assert second.sent_segments - first.sent_segments >= 9
    assert second.resent_segments >= first.resent_segments


def test_what_is_not_reached_is_tried_again_for_a_while_and_then_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All bytes that are asked for come in much less, unless the machine is busy.
    monkeypatch.setattr("wsgilab.system.clock_client.BANDWIDTH_S", 60.0)
    with clock_server() as port:
        network = Reachability(f"127.0.0.1:{port}")
        network.read(1)
    for _ in range(2):
        with pytest.raises(
            Unreachable, match=rf"^the targets' machine is not reached any more at 127\.0\.0\.1:{port}: .+$"
        ):
            network.read(0.3)
    with pytest.raises(Unreachable, match=rf"^the targets' machine is not reached at 127\.0\.0\.1:{port}: "):
        Reachability(f"127.0.0.1:{port}").bandwidth_mbps()
    with clock_server(port=port):
        assert network.read(1).round_trip_ms > 0
        assert network.bandwidth_mbps() > 1
        network.close()


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Reachability("alpha")
