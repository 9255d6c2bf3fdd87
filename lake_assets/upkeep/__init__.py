"""How the lake stays healthy: checks and the catalogue."""
