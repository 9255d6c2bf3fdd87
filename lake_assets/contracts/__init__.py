"""What data must look like: providers, datasets, and the rules that their rows meet."""
