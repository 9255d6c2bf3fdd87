"""Tests with real servers, which are started here, on loopback, and ended by their pid."""
