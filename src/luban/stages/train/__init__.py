"""Rows and a base model to a model folder: recipes over the one loop of `luban.training`."""

from luban.stages.train.run import train

__all__ = ["train"]
