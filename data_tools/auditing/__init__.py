"""The audit of a data set: its numbers, and an HTML page with examples."""
