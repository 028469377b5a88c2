"""Ports for servers are nobody else's: a server that binds late, or again, finds its port free."""

import socket
import subprocess
import sys

import pytest

from consumer.operate.network import LOOPBACK, free_ports

_TAKE_AND_HOLD = "from consumer.operate.network import free_ports; print(free_ports(1000), flush=True); input()"


def test_processes_side_by_side_never_get_the_same_port() -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", _TAKE_AND_HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    try:
        taken = [free_ports(1000)]
        for holder in holders:
            assert holder.stdout is not None
            taken.append([int(port) for port in holder.stdout.readline().strip(b"[]\n").split(b",")])
    finally:
        for holder in holders:
            holder.communicate(b"\n", timeout=30)
    assert len({port for ports in taken for port in ports}) == 5 * 1000


def test_a_port_that_has_a_listener_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(2)
    monkeypatch.setattr("consumer.operate.network._own_ports", iter([taken, free]))
    with socket.create_server((LOOPBACK, taken)):
        assert free_ports(1) == [free]


def test_too_few_ports_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.operate.network._own_ports", iter(free_ports(1)))
    with pytest.raises(OSError, match="found 1 free ports from 10000 on, 2 are needed"):
        free_ports(2)
