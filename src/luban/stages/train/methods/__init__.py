"""What of a model learns, by name: one lazy table of methods over the one loop; each stands in its own file."""

from luban.registry import Registry

METHODS = Registry(
    "method",
    {
        "full": "luban.stages.train.methods.full:Full",
        "freeze": "luban.stages.train.methods.freeze:Freeze",
        "head": "luban.stages.train.methods.freeze:Head",
        "contrastive": "luban.stages.train.methods.contrastive:Contrastive",
        "prototypes": "luban.stages.train.methods.prototypes:Prototypes",
        "lora": "luban.stages.train.methods.adapters:Adapter",
        "dora": "luban.stages.train.methods.adapters:Adapter",
        "adalora": "luban.stages.train.methods.adapters:Adapter",
        "ia3": "luban.stages.train.methods.adapters:Adapter",
        "bottleneck": "luban.stages.train.methods.bottleneck:Bottleneck",
        "prompt": "luban.stages.train.methods.prompt:Prompt",
        "prefix": "luban.stages.train.methods.prefix:Prefix",
    },
    extra="train",
)
