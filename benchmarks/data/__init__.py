"""Data sets, read for the measurements of the search for near-duplicates."""
