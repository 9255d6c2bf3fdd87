"""The Dagster shell: partitions, resources, IO managers, and one folder per group of assets."""
