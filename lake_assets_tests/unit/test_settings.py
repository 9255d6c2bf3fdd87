"""Settings: a variable beats lake.toml beats the default, and errors name their source."""

import os

import pytest

from lake_assets.errors import InvalidSettings
from lake_assets.settings import home_folder, load_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("LAKE_")]:
        monkeypatch.delenv(name)


def write(home, text):
    (home / "lake.toml").write_text(text, encoding="utf-8")


def test_a_lake_that_is_not_there_has_the_defaults(tmp_path):
    settings = load_settings(tmp_path / "none")
    assert settings.home == tmp_path / "none"
    assert (settings.batch_size, settings.ui_port, settings.log_level) == (16_384, 3000, "info")
    assert settings.workers == (os.cpu_count() or 1)
    assert settings.max_unpacked_bytes is None


def test_the_file_beats_the_default(tmp_path):
    write(tmp_path, "batch_size = 7\nbusy_timeout_s = 1.5\n")
    settings = load_settings(tmp_path)
    assert (settings.batch_size, settings.busy_timeout_s) == (7, 1.5)


def test_a_variable_beats_the_file(tmp_path, monkeypatch):
    write(tmp_path, "batch_size = 7\nui_port = 4000\n")
    monkeypatch.setenv("LAKE_BATCH_SIZE", "9")
    settings = load_settings(tmp_path)
    assert (settings.batch_size, settings.ui_port) == (9, 4000)


def test_a_variable_beats_even_a_wrong_value_in_the_file(tmp_path, monkeypatch):
    write(tmp_path, "workers = 0\n")
    monkeypatch.setenv("LAKE_WORKERS", "3")
    assert load_settings(tmp_path).workers == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("workers = 0", "workers in {file}", id="too small"),
        pytest.param('log_level = "loud"', "log_level in {file}", id="not a choice"),
        pytest.param("rejected_share_limit = 2", "rejected_share_limit in {file}", id="no share"),
        pytest.param("batch_sise = 1", "did you mean batch_size?", id="misspelt"),
        pytest.param("zzz = 1", "known are", id="unknown, near to none"),
        pytest.param('home = "x"', "unknown key 'home'", id="home is no setting"),
        pytest.param("[lake]\nworkers = 1", "unknown key 'lake'", id="a section"),
        pytest.param("workers = ", "not valid TOML", id="broken"),
    ],
)
def test_an_error_names_key_and_file(tmp_path, text, said):
    write(tmp_path, text)
    with pytest.raises(InvalidSettings) as error:
        load_settings(tmp_path)
    assert said.format(file=tmp_path / "lake.toml") in str(error.value)
    assert str(tmp_path / "lake.toml") in str(error.value)


def test_a_file_that_is_not_utf_8_is_an_error_of_the_file(tmp_path):
    (tmp_path / "lake.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=r"lake\.toml is not valid TOML"):
        load_settings(tmp_path)


def test_a_wrong_variable_is_named(tmp_path, monkeypatch):
    write(tmp_path, "workers = 2\n")
    monkeypatch.setenv("LAKE_WORKERS", "many")
    with pytest.raises(InvalidSettings, match=r"LAKE_WORKERS \(environment\).*'many'"):
        load_settings(tmp_path)


def test_an_unknown_variable_is_refused_with_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_WORKRES", "2")
    with pytest.raises(InvalidSettings, match="LAKE_WORKRES; did you mean LAKE_WORKERS"):
        load_settings(tmp_path)


def test_variables_for_the_test_suite_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_TEST_RECEIPTS", "/data")
    assert load_settings(tmp_path).home == tmp_path


def test_the_home_that_is_given_beats_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKE_HOME", str(tmp_path / "other"))
    assert load_settings(tmp_path / "this").home == tmp_path / "this"
    assert load_settings().home == tmp_path / "other"


@pytest.mark.parametrize("variable", [None, ""], ids=["unset", "empty"])
def test_home_is_data_lake_below_the_current_folder(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    if variable is not None:
        monkeypatch.setenv("LAKE_HOME", variable)
    assert home_folder() == tmp_path / "data" / "lake"


def test_home_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_folder("~/lake") == tmp_path / "lake"


def test_settings_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load_settings(tmp_path).workers = 5
