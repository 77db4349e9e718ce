"""Battery packs: parameters of a cell, the circuit, ageing, the simulator and its references."""
