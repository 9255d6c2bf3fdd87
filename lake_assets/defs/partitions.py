"""What assets are partitioned by."""

from __future__ import annotations

import dagster as dg

datasets = dg.DynamicPartitionsDefinition(name="datasets")
"""Keys ``provider/dataset``; the sensor and the command line add them."""
