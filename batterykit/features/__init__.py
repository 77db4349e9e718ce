"""Features of cells, made from the raw record and kept in the store.

`summary` and `sequence` describe a cell's use up to each check-up, `ica` the peaks of dQ/dV of its
slow curves; `build` computes what the cache does not hold. No learning happens here.
"""
