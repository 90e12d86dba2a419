"""From images of several sources to one data set: splits, duplicates, conflicts, balance."""
