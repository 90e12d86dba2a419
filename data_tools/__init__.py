"""From sources of labelled images to a pack: read, find duplicates, merge, split, balance. Knows no network."""
