"""The peers: each module runs one of them in a process of its own, see `worker`.

They run in the peers' virtual environments, so nothing here may import batterykit.
"""
