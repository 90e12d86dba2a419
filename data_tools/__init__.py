"""From sources of labelled images to a pack: read, find duplicates, merge, split, balance. Independent of `cnn`."""
