"""What the tools found in the sources, as numbers and as a page to look at."""
