"""Judge a folder: scores with intervals, slices, calibration, speed, mistakes; a report; a paired comparison."""

from luban.stages.evaluate.compare import Comparison, compare
from luban.stages.evaluate.evaluation import Evaluation, evaluate
from luban.stages.evaluate.report import write_report
from luban.stages.evaluate.unknown import check_known
from luban.stages.evaluate.unseen import unseen

__all__ = ["Comparison", "Evaluation", "check_known", "compare", "evaluate", "unseen", "write_report"]
