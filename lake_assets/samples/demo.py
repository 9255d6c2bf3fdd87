"""The demo: two overlapping deliveries of receipts and one of ticks go through a real lake.

It types the commands that a person would type, prints them and what they answer, and stops at the
first that fails. Run again, it delivers the same once more: all of it is duplicates then.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lake_assets.samples import SampleFacts, write_samples

_QUERIES = (
    (
        "What one shop took per day, from the delivered rows",
        "select company, date, count(*) as receipts, round(sum(total), 2) as taken "
        "from shop.receipts group by all order by taken desc limit 5",
    ),
    (
        "Images that were delivered more than once, each stored once",
        "select i.source_name as image, count(*) as used_by_rows, any_value(i.width_px) as width, "
        "any_value(i.height_px) as height from shop.receipts r join lake.images i "
        "on r._image = i.sha256 and i.provider = 'shop' and i.dataset = 'receipts' "
        "group by i.source_name having count(*) > 1 order by 1 limit 5",
    ),
    (
        "Annotations, joined to the images that they are about",
        "select k.field, k.value, i.source_name as image, i.width_px as width from tasks.kie k "
        "join lake.images i using (provider, dataset) where k._image = i.sha256 "
        "order by image, field limit 4",
    ),
    (
        "Text with its place: what stands to the right of TOTAL on the photo",
        "select i.source_name as image, arg_min(o.text, abs(o.box.y_max - t.box.y_max)) as total "
        "from tasks.ocr t join tasks.ocr o using (provider, dataset, variant, _image) "
        "join lake.images i using (provider, dataset) where i.sha256 = _image "
        "and t.text = 'TOTAL' and o.box.x_min > t.box.x_max "
        "group by 1 order by 1 limit 4",
    ),
    (
        "Why rows were rejected; nothing is lost",
        "select dataset, file, row, rule, actual from lake.quarantine order by all",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return 0, or the exit code of the command that failed."""
    parser = argparse.ArgumentParser(prog="python -m lake_assets.samples.demo", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("data/lake"), help="Folder of the lake.")
    parser.add_argument("--samples", type=Path, default=Path("data/samples"))
    parser.add_argument("--receipts", type=int, default=200)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    if options.home.exists():
        _say(f"There is a lake at {options.home} already. What the demo delivered before comes as "
             "duplicates now, or is rejected again.")  # fmt: skip
    _say(f"Drawing {options.receipts} receipts into {options.samples} …")
    facts = write_samples(options.samples, receipts=options.receipts)
    try:
        _deliver(options.home, options.samples, facts)
        _look(options.home)
    except subprocess.CalledProcessError as error:
        _say(f"\nThe command above ended with exit code {error.returncode}; the demo stops here.")
        return int(error.returncode)
    _say(f"\nDone in {time.monotonic() - started:.0f} s.\n{_next_steps(options.home)}")
    return 0


def _deliver(home: Path, samples: Path, facts: SampleFacts) -> None:
    _run(home, "init")
    _say(f"\n# Monday's delivery: {facts.monday.rows} rows, some of them broken on purpose")
    _run(home, "upload", "raw", str(samples / "receipts_monday"), "--provider", "shop",
         "--dataset", "receipts", "--create", "--variant", "image", "--tag", "demo",
         "--description", "Photographed receipts, with what is printed on them")  # fmt: skip
    _run(home, "process", "start", "--wait")
    _say(f"\n# Tuesday's: {facts.tuesday.rows} rows, {facts.tuesday.repeated_rows} of them known")
    _run(home, "upload", "raw", str(samples / "receipts_tuesday"), "--provider", "shop",
         "--dataset", "receipts", "--variant", "image", "--tag", "demo")  # fmt: skip
    _say("\n# A table without images")
    _run(home, "upload", "raw", str(samples / "ticks.csv"), "--provider", "shop",
         "--dataset", "ticks", "--description", "Prices of invented shares")  # fmt: skip
    _say(f"\n# Annotations of Monday's images: {facts.keys.fields} keys, "
         f"and all {facts.boxes.lines} lines of text with their boxes")  # fmt: skip
    for task, files in (("kie", facts.keys), ("ocr", facts.boxes)):
        if not _has_task(home, task):
            _run(home, "config", "task", "create", task, "--record-type", task,
                 "--required", "src", "--allow", "src=real,synthetic")  # fmt: skip
        _run(home, "upload", "task", str(files.folder), "--provider", "shop",
             "--dataset", "receipts", "--task", task, "--variant", "printed",
             "--meta", "src=synthetic")  # fmt: skip
    _run(home, "process", "start", "--wait")


def _look(home: Path) -> None:
    _say("\n# What the lake holds")
    _run(home, "catalog", "list")
    for what, sql in _QUERIES:
        _say(f"\n# {what}")
        _run(home, "sql", sql)


def _has_task(home: Path, task: str) -> bool:
    """Return whether an earlier demo has created a task in this lake."""
    done = subprocess.run(_command(home, "config", "task", "show", task), capture_output=True)
    return done.returncode == 0


def _run(home: Path, *arguments: str) -> None:
    shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    _say(f"\n$ lake {shown}")
    subprocess.run(_command(home, *arguments), check=True)


def _command(home: Path, *arguments: str) -> list[str]:
    # The program of this very environment, wherever it is installed.
    return [sys.executable, "-m", "lake_assets.cli.main", "--home", str(home), *arguments]


def _next_steps(home: Path) -> str:
    return f"""
What to do next (the lake is at {home}):

  . .venv/bin/activate
  export LAKE_HOME={shlex.quote(str(home.absolute()))}
  lake ui                                            look at it on http://127.0.0.1:3000
  lake upload raw YOUR_FOLDER --provider you --dataset yours --create
  lake process start --wait                          or let the UI's sensor do it
  lake sql "select * from you.yours limit 5"
  lake check                                         are the tables what they should be?
"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
