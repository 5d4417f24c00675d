"""Ports of the loopback address: which are free, and blocks that are reserved."""

import socket

import pytest

from services.local import ports


def test_excluded_ports_are_not_given_away(monkeypatch):
    monkeypatch.setattr(ports, "RANGE", range(10_000, 10_003))
    monkeypatch.setattr(ports, "_is_free", lambda port: port != 10_001)
    assert ports.free(1, exclude=[10_000]) == [10_002]
    assert ports.choose(0, "--port", exclude=[10_002]) == 10_000
    with pytest.raises(OSError, match="only 2 of 3 ports"):
        ports.free(3)


def test_two_stacks_that_start_at_once_share_no_port(monkeypatch):
    monkeypatch.setattr(ports, "BLOCKS", range(31_000, 31_030, 10))
    reserved = [ports.reserve(), ports.reserve()]
    try:
        assert not set(reserved[0][1]) & set(reserved[1][1])
        with pytest.raises(OSError, match="no block of ports is free"):
            ports.reserve(exclude=[31_005, 31_015, 31_025])
    finally:
        for reservation, _ in reserved:
            reservation.close()


def test_a_port_that_is_taken_is_named_with_its_flag():
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is taken; choose another with --http-port"):
            ports.choose(port, "--http-port")
    assert ports.choose(port, "--http-port") == port
