"""``python -m lake_assets.samples FOLDER [--seed 7] [--receipts 200]``: write the samples."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lake_assets.errors import LakeError
from lake_assets.samples import DeliveryFacts, SampleFacts, write_samples


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the samples and say what they hold; the exit code is 2 for a request without sense."""
    asked = _parser().parse_args(arguments)
    try:
        facts = write_samples(asked.folder, seed=asked.seed, receipts=asked.receipts)
    except LakeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(_summary(facts))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lake_assets.samples",
        description="Write two deliveries of receipts and a table of ticks.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="made if it is missing")
    parser.add_argument("--seed", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--receipts", type=int, default=200, help="default: %(default)s")
    return parser


def _summary(facts: SampleFacts) -> str:
    ticks = facts.ticks
    lines = (
        f"Samples in {facts.folder}",
        f"  {_delivery(facts.monday)}",
        f"  {_delivery(facts.tuesday)}",
        f"  {facts.keys.folder.name}/: {facts.keys.fields} keys of {facts.keys.files} receipts",
        f"  {facts.boxes.folder.name}/: {facts.boxes.lines} lines of text, with boxes",
        f"  {ticks.path.name}: {ticks.rows} rows, {len(ticks.ragged_rows)} of them ragged",
    )
    return "".join(f"{line}\n" for line in lines)


def _delivery(facts: DeliveryFacts) -> str:
    parts = [f"{facts.rows} rows", f"{facts.distinct_images} distinct images"]
    remarks = {
        "exact copies": len(facts.exact_copies),
        "resized copies": len(facts.resized_copies),
        "truncated": len(facts.truncated),
        "text named .jpg": len(facts.not_an_image),
        "unreadable row": len(facts.bad_lines),
        "rows that Monday had": facts.repeated_rows,
    }
    parts += [f"{count} {remark}" for remark, count in remarks.items() if count]
    return f"{facts.folder.name}/: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
