"""Why a model answered as it did: the weight of each word; the door of the stage."""

from luban.stages.explain.attribution import METHODS, explain
from luban.stages.explain.page import to_html, to_text

__all__ = ["METHODS", "explain", "to_html", "to_text"]
