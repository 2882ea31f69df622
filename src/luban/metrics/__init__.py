"""Scores, intervals and tests over plain sequences and arrays: numpy only; no model, no file, no task is known here."""
