"""Duplicates: which images show one photograph, at five levels: bytes, pixels, near, mirrored, augmented.

`levels` names the levels, `candidates` proposes pairs through indexes, `alignment` confirms or rejects a pair,
`grouping` joins confirmed pairs without chaining two different faces together, `search` runs all of these.
"""
