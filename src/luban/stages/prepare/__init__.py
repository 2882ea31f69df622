"""Rows from a source: load, check, clean, anonymise, split; it trains nothing and prints nothing."""

from luban.stages.prepare.check import Check, Finding, Lengths, check, examine
from luban.stages.prepare.clean import clean_text, normalised
from luban.stages.prepare.label import Labelling, label
from luban.stages.prepare.line import Loaded, fingerprint, load, prepare, write_rejects
from luban.stages.prepare.naming import part_of
from luban.stages.prepare.verbs import Written, anonymise, clean, split, write_rows

__all__ = [
    "Check",
    "Finding",
    "Labelling",
    "Lengths",
    "Loaded",
    "Written",
    "anonymise",
    "check",
    "clean",
    "clean_text",
    "examine",
    "fingerprint",
    "label",
    "load",
    "normalised",
    "part_of",
    "prepare",
    "split",
    "write_rejects",
    "write_rows",
]
