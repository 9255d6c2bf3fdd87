"""Names of providers and datasets: what is accepted works everywhere unquoted."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.contracts.names import DatasetName, check_name
from lake_assets.errors import InvalidName

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


def is_accepted(name):
    try:
        check_name(name, kind="provider")
    except InvalidName:
        return False
    return True


PROVIDERS = WORDS.filter(is_accepted)


@given(PROVIDERS, WORDS)
def test_a_name_survives_the_way_through_a_partition_key(provider, dataset):
    name = DatasetName(provider, dataset)
    assert DatasetName.parse(str(name)) == name
    assert DatasetName.parse(name.table) == name


def found_unquoted(connection, provider, dataset):
    try:
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{provider}"')
        connection.execute(f'CREATE VIEW "{provider}"."{dataset}" AS SELECT 1 AS x')
        return connection.execute(f"SELECT x FROM {provider}.{dataset}").fetchall() == [(1,)]
    except duckdb.Error:
        return False


@settings(max_examples=20)
@given(PROVIDERS, WORDS)
def test_duckdb_takes_an_accepted_name_unquoted(provider, dataset):
    with duckdb.connect() as connection:
        assert found_unquoted(connection, provider, dataset)


def test_duckdb_takes_every_accepted_keyword_unquoted():
    with duckdb.connect() as connection:
        words = connection.execute(
            "SELECT keyword_name FROM duckdb_keywords() UNION SELECT database_name "
            "FROM duckdb_databases() UNION SELECT schema_name FROM duckdb_schemas()"
        ).fetchall()
        accepted = sorted({word for (word,) in words if is_accepted(word)})
        assert [word for word in accepted if not found_unquoted(connection, word, word)] == []


@pytest.mark.parametrize(
    "name",
    ["", "A", "1a", "_a", "a-b", "a b", "a.b", "a/b", "..", "é", "a\n", "ａ", "a" * 64, "a\0"],
    ids=repr,
)
def test_other_names_are_refused(name):
    with pytest.raises(InvalidName, match="lower-case letter followed by"):
        check_name(name, kind="dataset")


@pytest.mark.parametrize("name", ["lake", "tasks", "main", "memory", "temp", "order", "select"])
def test_reserved_providers_are_refused(name):
    with pytest.raises(InvalidName, match="is reserved"):
        DatasetName(name, "d")


@pytest.mark.parametrize("name", ["lake", "tasks", "main", "order", "images"])
def test_a_dataset_may_have_a_name_that_a_provider_may_not(name):
    assert DatasetName("p", name).table == f"p.{name}"


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("My Data", "my_data"), ("COCO-2017", "coco_2017"), ("  x  ", "x")],
)
def test_a_refused_name_comes_with_one_that_would_do(name, suggested):
    with pytest.raises(InvalidName, match=f"try '{suggested}'"):
        check_name(name, kind="dataset")


@pytest.mark.parametrize("text", ["", "a", "a/b/c", "a.b/c", "/b", "a/", "a//b", "a/../b"])
def test_what_is_not_provider_and_dataset_is_refused(text):
    with pytest.raises(InvalidName):
        DatasetName.parse(text)
