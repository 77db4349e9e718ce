"""batterykit: from raw battery-ageing records to store, features and an honest score."""

__version__ = "0.1.0"
