"""Which images show one photograph, at five levels: bytes, pixels, near, mirrored, augmented.

`levels` names them, `candidates` proposes pairs through indexes, `alignment` confirms a pair or does not, `grouping`
joins confirmed pairs without chaining two different faces together, `search` runs it all.
"""
