"""A trained network in the files of other libraries, each compared with our own output before it is kept."""
