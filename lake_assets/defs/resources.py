"""The lake as a Dagster resource."""

import dagster as dg
from pydantic import Field

from lake_assets.defs.run_health import sign_run
from lake_assets.lake import Lake


class LakeResource(dg.ConfigurableResource[Lake]):
    """The lake in a local folder; made when it is not there yet."""

    home: str = Field(description="Folder of the lake.")

    def create_resource(self, context: dg.InitResourceContext) -> Lake:
        """Open the lake for one run, sensor tick or request; a run signs with its process."""
        if context.run is not None and context.instance is not None:
            sign_run(context.instance, context.run)
        return Lake.init(self.home)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Nothing is held open: the catalog's connections close with their pool."""
