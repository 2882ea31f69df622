"""What each row counts for by its class, so that a rare class is not outvoted; rows are neither left out nor repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from luban.training import Example


def balanced(examples: Sequence[Example]) -> list[Example]:
    """The examples of a classifier with weights by which every class counts the same in all, and a row 1 on average.

    King & Zeng 2001, "Logistic Regression in Rare Events Data". Rows without a label keep their weight.
    """
    told = [example for example in examples if example.labelled]
    targets = np.array([int(example.target) for example in told])
    totals = np.bincount(targets, [example.weight for example in told])
    each = totals.sum() / max(1, np.count_nonzero(totals))
    factors = [float(each / totals[int(e.target)]) if e.labelled else 1.0 for e in examples]
    return [replace(e, weight=e.weight * factor) for e, factor in zip(examples, factors, strict=True)]
