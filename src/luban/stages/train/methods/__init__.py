"""What of a model learns, by name: one lazy table of methods over the one loop; each stands in its own file."""

from luban.registry import Registry

METHODS = Registry(
    "method",
    {
        "full": "luban.stages.train.methods.full:Full",
        "freeze": "luban.stages.train.methods.freeze:Freeze",
        "head": "luban.stages.train.methods.freeze:Head",
    },
    extra="train",
)
