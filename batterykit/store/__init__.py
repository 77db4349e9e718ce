"""The zarr store: open, read with checks, write atomically, log, verify, export."""

from batterykit.store.store import Store

__all__ = ["Store"]
