"""What data must look like: the registry of providers and datasets, and the rules that rows meet."""
