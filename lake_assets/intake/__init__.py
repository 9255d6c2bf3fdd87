"""How data gets in: uploads and their states, and readers that turn files into Arrow batches."""
