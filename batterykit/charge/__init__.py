"""Charging packs: protocols, and runs of the simulator that become datasets."""
