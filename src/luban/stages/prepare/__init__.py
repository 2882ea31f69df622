"""Rows from a source: load, check, clean, anonymise, split; it trains nothing and prints nothing."""

from luban.stages.prepare.line import Loaded, fingerprint, load, prepare, write_rejects
from luban.stages.prepare.split import split

__all__ = ["Loaded", "fingerprint", "load", "prepare", "split", "write_rejects"]
