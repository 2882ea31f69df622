"""An ONNX graph with int8 weights, quantised dynamically; whether it is worth keeping is decided elsewhere.

Weights: symmetric int8, one scale an output channel. Activations: uint8, one scale a tensor, found at run time
(Jacob et al. 2018; https://arxiv.org/abs/1712.05877). What was measured to choose the settings is in docs/export.md.
"""

from __future__ import annotations

import logging
import platform
import re
from pathlib import Path

OPERATORS = ("MatMul", "Attention", "Gather")
INT8_FEATURES = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def quantise(source: Path, out: Path, *, spared: str = "", reduce_range: bool | None = None) -> None:
    """Write ``source`` with int8 weights, but for the nodes whose names match the pattern ``spared``.

    ``reduce_range`` keeps weights in 7 bits, so that processors without VNNI do not overflow 16-bit sums; None: where
    this processor is an x86 without VNNI.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from luban.runtimes.onnx import ARITHMETIC

    graph = onnx.load(str(source))
    del graph.graph.value_info[:]
    held = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            graph,
            str(out),
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=[node.name for node in graph.graph.node if spared and re.search(spared, node.name)],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=saturates() if reduce_range is None else reduce_range,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
    finally:
        logging.disable(held)
    small = onnx.load(str(out))
    onnx.helper.set_model_props(small, {ARITHMETIC: "int8"})
    onnx.save(small, str(out))


def features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The int8 dot-product features of this processor, as Linux names them; empty where it has none or does not say."""
    if not cpuinfo.is_file():
        return []
    words = set(cpuinfo.read_text(encoding="utf8", errors="replace").split())
    return [name for name in INT8_FEATURES if name in words]


def saturates() -> bool:
    """Whether u8 x s8 sums can overflow here: an x86 processor without VNNI."""
    return platform.machine().lower() in {"x86_64", "amd64"} and not features()
