"""Numbers with their units as people read them; nothing is measured here."""

from __future__ import annotations


def size(count: float) -> str:
    """A number of bytes: 812 B, 22.8 MB, 1.3 GB; 1 kB is 1,000 bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
