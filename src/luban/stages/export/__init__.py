"""Turns a trained folder into one that runs without torch; the door of the stage, the work is in `onnx`."""

from luban.stages.export.onnx import export

__all__ = ["export"]
