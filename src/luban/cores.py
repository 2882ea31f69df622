"""How many processor cores there are to use; it asks for nothing else about the machine (that is doctor.py)."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores this process may run on, which in a container can be fewer than the machine has; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
