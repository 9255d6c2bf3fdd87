"""How data is found: SQL over the lake."""
