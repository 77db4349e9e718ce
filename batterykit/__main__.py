"""`python -m batterykit` is the same as the `batterykit` command."""

from __future__ import annotations

from batterykit.cli.app import main

if __name__ == "__main__":
    main()
