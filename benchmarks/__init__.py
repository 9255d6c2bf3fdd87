"""How fast the lake is, how much memory it takes, and how both grow: `python -m benchmarks`.

Invariant: no figure stands alone. Each line has a floor or a peer that was measured in the same run
on the same machine, so that the ratio still tells something when the machine is slow or busy.
"""
