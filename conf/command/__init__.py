"""The command line's edge. Imported before torch, whichever way a run starts, so that torch's threads find their settings."""

import os

SPINS = "1000"  # rounds that an OpenMP thread waits awake for work, a few microseconds, before it sleeps
SETTINGS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS}

# Threads that spin while they wait take the cores from other runs on the same machine: two side by side then need seven
# times as long as one. OpenMP reads this once, as torch loads it; further processes inherit it. A user's own choice stays.
if not SETTINGS.keys() & os.environ.keys():
    os.environ |= SETTINGS
