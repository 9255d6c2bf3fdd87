"""Leases: one holder at a time, and only the last one can commit."""

import json
import subprocess
import sys
import time
from threading import Thread

import pyarrow as pa
import pytest
from sqlalchemy import text

from lake_assets.errors import DatasetBusy, LeaseLost
from lake_assets.storage.processes import signature
from lake_assets.storage.tables import Delivery, IcebergTables, TableSpec

ONE = TableSpec(name="acme.d", schema=pa.schema([("a", pa.int64())]))
NAME = "acme/d"


@pytest.fixture
def open_tables(tmp_path):
    """Return a function that opens the same tables again, as another process would."""
    opened = []

    def open_one(timeout_s=60.0):
        tables = IcebergTables(tmp_path / "w", tmp_path / "c.db", lease_timeout_s=timeout_s)
        opened.append(tables)
        return tables

    yield open_one
    for tables in opened:
        tables.close()


def pretend(tables, **holder):
    """Let a lease look as if it was held by another process, which beat last long ago."""
    with tables.leases._engine().begin() as connection:
        connection.execute(
            text("UPDATE lake_leases SET holder = :h, heartbeat_at = :t"),
            {"h": json.dumps({**signature(), **holder}), "t": time.time() - 100},
        )


def one_row(tables):
    with tables.part_writer(ONE, stem="u1") as parts:
        parts.write(pa.table({"a": [1]}))
        return Delivery(keys=("u1",), parts=parts.close())


def test_a_lease_is_held_by_one_at_a_time(open_tables):
    mine, theirs = open_tables(), open_tables()
    with mine.leases.hold(NAME, wait_s=0, run_id="r") as lease:
        facts = theirs.leases.look(NAME)
        assert (facts.is_held, facts.token, facts.run_id) == (True, lease.token, "r")
        with pytest.raises(DatasetBusy), theirs.leases.hold(NAME, wait_s=0):
            pass
        with theirs.leases.hold("acme/other", wait_s=0):
            assert set(mine.leases.look_at_all()) == {NAME, "acme/other"}
    assert not theirs.leases.look(NAME).is_held


def test_each_holder_has_a_greater_token_and_knows_whether_the_last_one_ended_well(open_tables):
    tables = open_tables()
    with tables.leases.hold(NAME, wait_s=0) as first:
        assert first.left_tokens == ()
    with tables.leases.hold(NAME, wait_s=0) as second:
        assert (second.token > first.token, second.left_tokens) == (True, ())
        pretend(tables)
        with open_tables(timeout_s=1).leases.hold(NAME, wait_s=0) as third:
            assert (third.token > second.token, third.left_tokens) == (True, (second.token,))


def test_what_holders_left_is_known_until_one_has_seen_to_it(open_tables):
    tables = open_tables()
    with pytest.raises(ValueError, match="dies"), tables.leases.hold(NAME, wait_s=0) as first:
        raise ValueError("dies")
    with tables.leases.hold(NAME, wait_s=0) as second:  # ends well, and looked at nothing
        assert second.left_tokens == (first.token,)
    with tables.leases.hold(NAME, wait_s=0) as third:
        assert third.left_tokens == (first.token, second.token)
        third.has_recovered = True
    with tables.leases.hold(NAME, wait_s=0) as fourth:
        assert fourth.left_tokens == ()


def test_the_leases_of_an_earlier_version_are_read(open_tables):
    tables = open_tables()
    with tables.leases.hold(NAME, wait_s=0) as first:
        pass
    with tables.leases._engine().begin() as connection:
        connection.execute(text("ALTER TABLE lake_leases DROP COLUMN left_tokens"))
    assert list(open_tables().leases.look_at_all()) == [NAME]
    with open_tables().leases.hold(NAME, wait_s=0) as second:
        assert second.token > first.token


def test_tokens_rise_also_in_a_catalog_that_was_made_anew(open_tables):
    with open_tables().leases.hold(NAME, wait_s=0) as lease:
        assert lease.token > 1_700_000_000  # begins with the time in seconds


def test_a_free_lease_is_waited_for(open_tables):
    mine, theirs, waited = open_tables(), open_tables(), []
    got = []

    def wait():
        with theirs.leases.hold(NAME, wait_s=60, on_wait=lambda: waited.append(1)):
            got.append(1)

    with mine.leases.hold(NAME, wait_s=0):
        thread = Thread(target=wait)
        thread.start()
        while not waited:
            time.sleep(0.01)
        assert got == []
    thread.join(timeout=60)
    assert (got, waited) == ([1], [1])


def test_the_lease_of_a_process_that_ended_is_free_at_once(open_tables):
    tables = open_tables()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with tables.leases.hold(NAME, wait_s=0):
        with tables.leases._engine().begin() as connection:
            gone = {**signature(), "pid": child.pid, "process_started": "1"}
            connection.execute(text("UPDATE lake_leases SET holder = :h"), {"h": json.dumps(gone)})
        with open_tables().leases.hold(NAME, wait_s=0) as taken:
            assert taken.left_tokens


@pytest.mark.parametrize(("timeout_s", "is_held"), [(1000.0, True), (50.0, False)])
def test_the_lease_of_another_host_is_free_after_its_timeout(open_tables, timeout_s, is_held):
    tables = open_tables(timeout_s)
    with tables.leases.hold(NAME, wait_s=0):
        pretend(tables, host="other", pid=1)
        assert open_tables(timeout_s).leases.look(NAME).is_held is is_held


def test_a_heartbeat_keeps_a_lease_and_shows_progress(open_tables):
    tables, other = open_tables(timeout_s=1), open_tables(timeout_s=1)
    with tables.leases.hold(NAME, wait_s=0) as lease:
        lease.upload_id, lease.rows_read = "u1", 5
        until = time.monotonic() + 60
        while other.leases.look(NAME).rows_read != 5:
            assert time.monotonic() < until
            time.sleep(0.01)
        for _ in range(15):  # longer than the timeout
            assert other.leases.look(NAME).is_held
            time.sleep(0.1)
        assert other.leases.look(NAME).upload_id == "u1"


def test_whoever_lost_a_lease_cannot_commit(open_tables):
    mine, theirs = open_tables(), open_tables(timeout_s=1)  # mine beats every ten seconds
    with mine.leases.hold(NAME, wait_s=0) as lost:
        delivery = one_row(mine)
        pretend(mine)
        with theirs.leases.hold(NAME, wait_s=0) as taken:
            for attempt in (mine.append_once, mine.replace):
                with pytest.raises(LeaseLost, match="stood still"):
                    attempt(ONE, [delivery], lease=lost)
            with pytest.raises(LeaseLost):
                mine.leases.require(lost)
            with pytest.raises(LeaseLost):
                mine.leases.renew(lost)
            assert not theirs.exists(ONE.name)
            theirs.append_once(ONE, [delivery], lease=taken)
        # Its end does not free a lease that is another's by now.
        with theirs.leases.hold(NAME, wait_s=0) as again:
            pass
    assert again.token == taken.token + 1
    assert theirs.read(ONE.name)["a"].to_pylist() == [1]


def test_a_table_that_is_there_is_fenced_too(open_tables):
    mine, theirs = open_tables(), open_tables(timeout_s=1)
    with mine.leases.hold(NAME, wait_s=0) as lost:
        mine.append_once(ONE, [one_row(mine)], lease=lost)
        mine.leases.renew(lost)
        pretend(mine)
        with theirs.leases.hold(NAME, wait_s=0), pytest.raises(LeaseLost):
            mine.append_once(ONE, [Delivery(keys=("u2",), parts=())], lease=lost)
    assert theirs.committed(ONE.name, ["u1", "u2"]) == {"u1"}
