"""How the lake is kept healthy: verification."""
