"""`lake ui`, as far as it goes without Dagster's servers."""

from __future__ import annotations

import socket

from lake_assets_tests.cli.conftest import Run


def test_a_port_in_use_is_told_at_once(typed: Run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = typed("ui", "--port", str(port))
    assert (answer.code, answer.out) == (1, "")
    assert str(port) in answer.err
    assert "--port" in answer.err


def test_a_port_is_a_port(typed: Run):
    assert typed("ui", "--port", "70000").code == 2
