"""What runs a folder's weights, by name: one lazy table; nothing is imported until it is asked for."""

from luban.registry import Registry

RUNTIMES = Registry(
    "runtime",
    {
        "pytorch": "luban.runtimes.pytorch:PyTorchRuntime",
        "onnx": "luban.runtimes.onnx:OnnxRuntime",
    },
    extra="serve",
    extras={"pytorch": "train"},
)
