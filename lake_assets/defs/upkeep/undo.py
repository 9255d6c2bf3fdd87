"""``undo_upload``: take an upload out of the tables, or put one back."""

import dagster as dg
from pydantic import Field

from lake_assets.defs.policies import dagster_errors
from lake_assets.lake import Lake
from lake_assets.undoing import plan_revision, revise


class UndoConfig(dg.Config):
    """Which upload, and which way."""

    upload_id: str = Field(description="The upload, from `lake process list`.")
    redo: bool = Field(default=False, description="Put an upload back that was taken out, instead.")
    dry_run: bool = Field(default=False, description="Only say what would change.")
    accepts_fewer_rows: bool = Field(
        default=False,
        description="Also where rows of other uploads, which break their contract by now, go into "
        "the quarantine.",
    )


@dg.op(out=dg.Out(dg.Nothing), description="Take an upload out of the tables, or put it back.")
def revise_dataset(
    context: dg.OpExecutionContext, config: UndoConfig, lake: dg.ResourceParam[Lake]
) -> None:
    """Show what changes, and change it."""
    with dagster_errors():
        plan = plan_revision(lake.stores, config.upload_id, is_undo=not config.redo)
        if not config.dry_run:
            revise(
                lake.stores,
                config.upload_id,
                is_undo=not config.redo,
                accepts_fewer_rows=config.accepts_fewer_rows,
                run_id=context.run_id,
            )
    context.add_output_metadata(
        {
            "dataset": dg.MetadataValue.text(plan.name),
            "rows before": plan.rows_before,
            "rows": plan.rows,
            "images before": plan.images_before,
            "images": plan.images,
            "annotations into the quarantine": plan.annotations,
            "rejected then": dg.MetadataValue.json(dict(plan.rejected_by_rule)),
            "read again": dg.MetadataValue.json(list(plan.variants)),
        }
    )


@dg.job(description="Take an upload out of all tables, as if it had never come, or put it back.")
def undo_upload() -> None:
    """Have a dataset read again without an upload, or with it."""
    revise_dataset()
