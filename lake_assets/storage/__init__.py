"""Where things lie: shards (blobs) and tables (Iceberg)."""
