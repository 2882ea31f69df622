"""What each row counts for by its class, so that a rare class is not outvoted; rows are neither left out nor repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from luban.training import Example


def balanced(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples of a classifier with weights by which every class counts the same in all, and a row 1 on average.

    King & Zeng 2001, "Logistic Regression in Rare Events Data". Rows without a label keep their weight.
    """
    from luban.stages.train.cache import Chosen, column

    labelled, weights, targets = (column(examples, name) for name in ("labelled", "weight", "target"))
    totals = np.bincount(targets[labelled], weights[labelled])
    each = totals.sum() / max(1, np.count_nonzero(totals))
    weights[labelled] *= each / totals[targets[labelled]]
    return Chosen(examples, weights=weights)
