"""`lake init`, `lake config`."""

from __future__ import annotations

from pathlib import Path

import yaml

from lake_assets_tests.cli.conftest import Run


def test_init_makes_a_lake(bare: Run, tmp_path: Path):
    answer = bare("init", str(tmp_path / "new"))
    assert answer.code == 0
    assert "Made a lake at" in answer.out
    assert (tmp_path / "new" / "lake.toml").exists()
    assert (tmp_path / "new" / "config" / "schema.yaml").exists()


def test_init_leaves_a_lake_as_it_is(bare: Run, typed: Run, home: Path):
    typed("config", "provider", "create", "shops")
    answer = bare("init", str(home), "--json")
    assert answer.json == {"home": str(home), "is_new": False}
    assert "shops" in typed("config", "provider", "list").out


def test_init_refuses_two_homes(bare: Run, tmp_path: Path):
    answer = bare("--home", str(tmp_path / "a"), "init", str(tmp_path / "b"))
    assert answer.code == 2
    assert not (tmp_path / "a").exists()


def test_a_provider_is_created_once(typed: Run):
    assert typed("config", "provider", "create", "shops").out == "Created provider shops\n"
    again = typed("config", "provider", "create", "shops")
    assert again.code == 1
    assert "exists already" in again.err
    assert typed("config", "provider", "list", "--json").json == {
        "providers": [{"provider": "shops", "datasets": 0}]
    }


def test_a_name_that_engines_refuse_is_refused(typed: Run):
    answer = typed("config", "provider", "create", "My Shops")
    assert answer.code == 1
    assert "try 'my_shops'" in answer.err


def test_a_missing_name_is_an_error_that_names_it(typed: Run):
    answer = typed("config", "provider", "create")
    assert answer.code == 2
    assert "NAME" in answer.err


def test_an_empty_lake_says_so(typed: Run):
    for words in (("config", "provider", "list"), ("config", "dataset", "list")):
        answer = typed(*words)
        assert (answer.code, answer.err) == (0, "")
        assert "yet" in answer.out


def test_a_dataset_is_shown_as_yaml(typed: Run, people: Path):
    typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people", "--create",
          "--description", "Who works here.")  # fmt: skip
    answer = typed("config", "dataset", "show", "hr/people")
    text, _, rest = answer.out.partition("\n\n")
    assert yaml.safe_load(text)["hr/people"]["description"] == "Who works here."
    assert "Nothing of it is in a table yet." in rest
    assert "Who works here." in typed("config", "dataset", "list").out


def test_an_unknown_dataset_is_told_with_those_known(typed: Run, people: Path):
    typed("upload", "raw", str(people), "--provider", "hr", "--dataset", "people", "--create")
    answer = typed("config", "dataset", "show", "hr/peple")
    assert answer.code == 1
    assert "known: hr/people" in answer.err
