"""The kinds of problem luban knows, by name: one lazy table; nothing is imported until it is asked for."""

from luban.registry import Registry

TASKS = Registry(
    "task",
    {
        "text-classification": "luban.tasks.text_classification:TextClassification",
        "multi-label-classification": "luban.tasks.multi_label_classification:MultiLabelClassification",
        "text-regression": "luban.tasks.text_regression:TextRegression",
        "text-pair": "luban.tasks.text_pair:TextPair",
        "token-classification": "luban.tasks.token_classification:TokenClassification",
        "intent-and-slots": "luban.tasks.intent_and_slots:IntentAndSlots",
        "multi-task": "luban.tasks.multi_task:MultiTask",
        "extractive-qa": "luban.tasks.extractive_qa:ExtractiveQA",
        "text-generation": "luban.tasks.text_generation:TextGeneration",
        "text-to-text": "luban.tasks.text_to_text:TextToText",
        "embedding": "luban.tasks.embedding:Embedding",
        "rerank": "luban.tasks.rerank:Rerank",
        "recommendation": "luban.tasks.recommendation:Recommendation",
        "image-classification": "luban.tasks.image_classification:ImageClassification",
        "multimodal-classification": "luban.tasks.multimodal_classification:MultimodalClassification",
    },
)
