"""What a command imports before it answers. How long that takes is for benchmarks/ to say."""

import json
import subprocess
import sys

import pytest

from lake_assets.contracts.tasks import TaskContract
from lake_assets.lake import Lake

HEAVY = {"dagster", "duckdb", "pandas", "PIL", "pyiceberg.table", "sqlalchemy"}
ARROW = {"numpy", "pyarrow"}
SAY_MODULES = """
import json, sys
from lake_assets.cli.main import main
sys.argv = ["lake", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as ended:
    code = ended.code
sys.stderr.write(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A lake with one dataset."""
    folder = tmp_path_factory.mktemp("start-up")
    source = folder / "few.csv"
    source.write_text("a,b\n1,x\n")
    with Lake.init(folder / "lake") as lake:
        upload = lake.upload_raw_data(source, provider="p", dataset="d", create_provider=True)
        lake.ingest(upload.id)
        lake.catalog()
        for task in ("listed", "gone"):
            lake.create_task(task, TaskContract())
    return folder / "lake"


def imported_by(*words, codes=(0, None)):
    done = subprocess.run(
        [sys.executable, "-c", SAY_MODULES, json.dumps(words)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said = json.loads(done.stderr.splitlines()[-1])
    assert said["code"] in codes, done.stderr
    return done.stdout, set(said["modules"])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("catalog", "list"), "p/d"),
        (("process", "start"), "Nothing is pending"),
        (("process", "start", "--wait"), "Nothing is pending"),
        (("process", "list"), "done"),
        (("config", "dataset", "list"), "p/d"),
        (("config", "task", "create", "ocr", "--record-type", "ocr", "--required", "lang"), "ocr"),
        (("config", "task", "list"), "listed"),
        (("config", "task", "delete", "gone", "--yes"), "gone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_with_nothing_to_write_imports_neither_dagster_nor_iceberg(home, words, answer):
    printed, modules = imported_by("--home", str(home), *words)
    assert answer in printed
    assert modules & HEAVY == set()


def test_metadata_that_is_wrong_is_told_before_much_is_imported(home):
    imported_by("--home", str(home), "config", "task", "create", "kie", "--required", "lang")
    words = ("upload", "task", "x", "--provider", "p", "--dataset", "d", "--task", "kie")
    _, modules = imported_by("--home", str(home), *words, "--variant", "v", codes=(1,))
    assert modules & HEAVY == set()


def test_help_imports_no_library_but_its_own():
    printed, modules = imported_by("--help")
    assert "Commands" in printed
    assert modules & (HEAVY | ARROW | {"pydantic", "rich", "yaml"}) == set()
