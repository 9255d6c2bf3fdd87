"""`lake init`: make a lake."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def init(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Argument(metavar="HOME", help="Folder of the lake to be.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make a lake: its folders, lake.toml and config/schema.yaml.

    A lake that is there already is left as it is; only what it lacks is added.
    """
    from lake_assets.cli.output import print_json, print_lines
    from lake_assets.lake import Lake
    from lake_assets.layout import LakeLayout
    from lake_assets.settings import home_folder

    if home is not None and ctx.obj is not None and home_folder(home) != home_folder(ctx.obj):
        ctx.fail(f"HOME is {home}, but --home is {ctx.obj}.")
    wanted = home_folder(home or ctx.obj)
    is_new = not LakeLayout(wanted).registry_file.exists()
    with Lake.init(wanted) as lake:
        if as_json:
            print_json({"home": lake.home, "is_new": is_new})
            return
        print_lines(f"{'Made a lake at' if is_new else 'There is a lake already at'} {lake.home}")
        if lake.home != home_folder():
            print_lines(f"Use it with: export LAKE_HOME={shlex.quote(str(lake.home))}")
        print_lines("Next: lake upload raw PATH --provider P --dataset D --create")
