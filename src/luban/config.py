"""Every knob, one frozen closed section a stage, explained in place; it reads no files and starts nothing.

The same names are the options of the command line, the keys of `luban.yaml` and the keywords in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from luban.misfits import SHARE_OR_TASK, explained

OWN_TEXTS = "rows"
"stands for the training rows' own texts where texts to read are named"


class Section(BaseModel):
    """A closed, frozen group of options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PrepareConfig(Section):
    """How rows are read, cleaned and split."""

    source: str = Field("", description="file, folder or hf:NAME[:CONFIG]")
    valid: str = Field("", description="separate validation rows; empty: split off the training rows")
    test: str = Field("", description="separate test rows; empty: the folder's test part, if any")
    columns: Mapping[str, str] = Field({}, description="canonical name to column name, such as text=body")
    numbers: tuple[str, ...] = Field(
        (), description="multimodal-classification: columns that hold numbers; neither named: recognised"
    )
    categories: tuple[str, ...] = Field((), description="multimodal-classification: columns that hold categories")
    questions: Mapping[str, str] = Field(
        {}, description="multi-task: what is asked of a row, each with its kind: label, labels or number"
    )
    clean: bool = Field(True, description="normalise Unicode and white space, strip HTML and control characters")
    unlabelled: str = Field("", description="more rows, whose labels are not known: a teacher's answers stand for them")
    adapt: str = Field("", description="texts that the base reads before it learns; rows: those of the training rows")
    replay: str = Field(
        "", description="rows that the model to continue was trained from, so that it keeps what it knew"
    )
    drop_duplicates: bool = Field(False, description="reject exact duplicates (text and label) within a part")
    valid_share: float = Field(
        0.1, gt=0, lt=0.9, description="share of rows split off where no validation rows are given"
    )
    test_share: float = Field(0.0, ge=0, lt=0.9, description="share of rows split off for testing")
    min_rating: float = Field(0, description="recommendation: interactions rated lower count as not taken")
    group: str = Field("", description="column whose equal values must stay in one part")
    strict: bool = Field(
        True, description="stop at the first bad row; false: set bad rows aside in rejects.jsonl and go on"
    )
    seed: int = Field(13, description="seed of the split")


class TrainConfig(Section):
    """How a model learns. Zero or null means: chosen from the data, as measured (docs/training.md)."""

    task: str = Field("", description="kind of problem; see `luban train --help`")
    base: str = Field("minilm", description="pre-trained model: short name, local folder or hub id")
    method: str = Field(
        "auto",
        description="what of the model learns: auto (by the number of rows), full, freeze, head, contrastive, prototypes, "
        "lora, dora, adalora, ia3, prefix, prompt, bottleneck",
    )
    layers: int = Field(0, ge=0, description="lowest layers that freeze leaves as they are; 0: half of them")
    contrast_steps: int = Field(
        0, ge=0, description="steps in which contrastive brings texts of a class together; 0: 100"
    )
    rank: int = Field(0, ge=0, description="rank of lora, dora and adalora; 0: 8")
    alpha: float = Field(0, ge=0, description="scale of lora, dora and adalora, over the rank; 0: twice the rank")
    targets: str = Field(
        "",
        description="linear layers that lora, dora, adalora and ia3 stand beside, by the ends of their names, with commas",
    )
    adapter_size: int = Field(0, ge=0, description="neurons that bottleneck adds to each layer; 0: 64")
    prompt_tokens: int = Field(0, ge=0, description="sub-words that prompt and prefix put before a text; 0: 20")
    epochs: float = Field(0, ge=0, description="passes over the rows; 0: by their number")
    rate: float = Field(0, ge=0, description="peak learning rate of the body; 0: by task")
    head_rate: float = Field(0, ge=0, description="peak learning rate of the head; 0: by task")
    batch_tokens: int = Field(
        0, ge=0, description="sub-words an optimiser step, padding included; 0: by the number of rows"
    )
    batch_rows: int = Field(0, ge=0, description="most rows an optimiser step; 0: by the number of rows")
    dpo_beta: float = Field(
        0, ge=0, description="rows with chosen and rejected: how dear it is to leave what the base writes; 0: 0.1"
    )
    question_weights: Mapping[str, float] = Field(
        {}, description="multi-task: what a question counts beside the others, such as intent=2; 1 where none is named"
    )
    target_length: int = Field(
        0, ge=0, description="text-to-text: longest target in sub-words; 0: what the model can write"
    )
    decoder_layers: int = Field(
        0, ge=0, description="text-to-text from an encoder: layers of the decoder beside it; 0: as many as it has"
    )
    dpo_sft: float = Field(
        0, ge=0, description="weight of fine-tuning on the chosen answers beside it: holds their probability up; 0: off"
    )
    packing: bool = Field(False, description="text-generation: several rows in a window, none of which reads another")
    warmup: float = Field(0.1, ge=0, le=1, description="share of steps in which the rate rises")
    decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    layer_decay: float = Field(1.0, gt=0, le=1, description="rate of a layer as a share of that of the layer above it")
    clip: float = Field(1.0, gt=0, description="largest gradient norm; private: of each row")
    dropout: float = Field(-1, ge=-1, le=1, description="dropout of the encoder and the head; -1: by task")
    smoothing: float = Field(-1, ge=-1, lt=1, description="label smoothing; -1: by task")
    adversarial: Literal["none", "fgm", "pgd", "freelb"] = Field(
        "none", description="learn from the worst nearby embeddings too, found in one step (fgm) or several"
    )
    adversarial_radius: float = Field(
        0.003, gt=0, le=1, description="how far they may lie, as a share of the norm of a row's embeddings"
    )
    adversarial_steps: int = Field(3, ge=1, description="steps of pgd and freelb")
    rdrop: float = Field(0, ge=0, description="weight of R-Drop: two passes with other dropout are to agree; 0: off")
    mixup: float = Field(0, ge=0, description="alpha of mixup: rows are mixed in pairs before the head; 0: off")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="what a row counts for: the same, or the more the rarer its class"
    )
    focal: float = Field(0, ge=0, description="gamma of the focal loss: sure answers count less; 0: off")
    gce: float = Field(
        0, ge=0, le=1, description="q of the generalised cross-entropy: unlikely labels pull less; 0: off"
    )
    noisy: Literal["none", "keep", "weigh", "drop"] = Field(
        "none", description="labels that look wrong: not looked for, only reported, weighed down, or left out"
    )
    adapt_steps: int = Field(0, ge=0, description="steps in which the base reads the texts of adapt; 0: 200")
    private: float = Field(
        0,
        ge=0,
        le=100,
        description="epsilon of differential privacy that the training rows are promised; 0: no promise",
    )
    delta: float = Field(0, ge=0, lt=1, description="delta of that promise; 0: a tenth of one over the rows")
    max_length: int = Field(0, ge=0, description="longest window in sub-words; 0: by the rows, at most the model's")
    pooling: Literal["auto", "first", "mean"] = Field(
        "auto",
        description="what a classifier reads: the first token or the mean of all; auto tries both on the frozen base",
    )
    probe: bool = Field(True, description="start the head from a linear probe on the frozen features")
    teacher: str = Field("", description="model to learn from as well: a model folder, or a base that has a head")
    student_layers: int = Field(
        0, ge=0, description="start from a copy of the teacher with so many of its layers; 0: from the base"
    )
    distil_weight: float = Field(
        0.5, ge=0, le=1, description="what the teacher's (or continued model's) answer counts beside a row's label"
    )
    distil_temperature: float = Field(
        2.0, gt=0, description="softens both answers: above 1 the unlikely labels count more"
    )
    distil_hidden: float = Field(0, ge=0, description="weight of being like the teacher's hidden states; 0: off")
    distil_attention: float = Field(0, ge=0, description="weight of attending like the teacher; 0: off")
    continue_from: str = Field("", description="model folder that learns the rows in addition to what it knows")
    replay_rows: int = Field(
        -1,
        ge=-1,
        description="rows of replay to learn again, balanced over their labels; -1: as many as there are new ones",
    )
    max_forget: float = Field(
        0.01, ge=0, le=1, description="largest drop of the score on old rows with which a continued model is kept"
    )
    contrast_temperature: float = Field(
        0.05,
        gt=0,
        le=1,
        description="divides the cosines an embedding model learns from; smaller: the nearest count most",
    )
    symmetric: bool = Field(False, description="embedding: find the query of a passage as well")
    dimensions: tuple[int, ...] = Field(
        (), description="embedding: sizes its vectors may be cut to, such as 256,128,64"
    )
    negatives: int = Field(
        0, ge=0, description="hard negatives found for each row: embedding by the model itself, rerank by shared words"
    )
    negatives_from: int = Field(1, ge=1, description="best rank, among the wrong passages, that they are taken from")
    negatives_to: int = Field(50, ge=1, description="worst rank that they are taken from")
    negatives_margin: float = Field(
        0.05,
        ge=0,
        le=2,
        description="how far below the right passage's cosine they must stay: a nearer one may be right",
    )
    items_by: Literal["both", "text", "id"] = Field(
        "both", description="recommendation: an item is known by its text, by a vector of its own (id), or by both"
    )
    item_size: int = Field(0, ge=0, description="recommendation: numbers in the vectors of items and users; 0: 64")
    recent: int = Field(0, ge=0, description="recommendation: latest items of a history that are read; 0: 50")
    top: int = Field(10, ge=1, le=1000, description="recommendation: items recommended where a request does not say")
    keep_users: bool = Field(
        False, description="recommendation: keep users' histories in the folder, so that a user can be asked for by id"
    )
    query_prefix: str = Field(
        "auto", description="stands before each query that is embedded; auto: as the base was taught"
    )
    passage_prefix: str = Field("auto", description="stands before each passage that is embedded")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="arithmetic of the matrix products; auto asks the processor"
    )
    threads: int = Field(0, ge=0, description="processor threads; 0: all cores")
    memory: float = Field(0, ge=0, description="GiB that training may use; 0: what is free")
    patience: int = Field(3, ge=1, description="evaluations without gain after which training stops")
    vision_base: str = Field(
        "",
        description="multimodal-classification: pre-trained model that sees the pictures: short name, folder or hub id",
    )
    modality_dropout: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="multimodal-classification: share of times that a text, a picture or all fields are hidden while it learns",
    )
    augment: bool = Field(
        True, description="pictures: another part of each, mirrored or not, in other light, every time"
    )
    golden: Literal["real", "synthetic"] = Field(
        "real", description="golden rows: real ones with personal data replaced, or made ones"
    )
    log: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(("tensorboard",), description="where curves go")
    seed: int = Field(13, description="seed of order, dropout and head")

    @property
    def start(self) -> str:
        """What training starts from: the model to continue, the teacher that a student is a copy of, or the base."""
        return self.continue_from or (self.teacher if self.student_layers else self.base)

    @field_validator("dimensions")
    @classmethod
    def _at_least_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in value):
            raise ValueError("Whole numbers from 1 on are expected, joined by commas.")
        return value

    @field_validator("dropout", "smoothing")
    @classmethod
    def _a_share_or_by_task(cls, value: float) -> float:
        if -1 < value < 0:
            raise ValueError(SHARE_OR_TASK)
        return value


class SpaceConfig(Section):
    """What a search varies: a value, a range such as 1e-5..1e-4, or values with commas; x: times what luban would choose."""

    method: str = Field("full,freeze,lora", description="methods; those of them that the task and the bases can take")
    rate: str = Field("0.3x..3x", description="peak learning rate of the body")
    head_rate: str = Field("0.3x..3x", description="peak learning rate of the head")
    batch_rows: str = Field("0.5x,1x,2x", description="most rows an optimiser step")
    epochs: str = Field("0.5x..1.5x", description="passes over the rows")
    layers: str = Field("0.5x..1.5x", description="lowest layers that freeze leaves as they are")
    rank: str = Field("4,8,16,32", description="rank of lora, dora and adalora")
    dropout: str = Field("0..0.3", description="dropout of the encoder and the head")
    smoothing: str = Field("0..0.2", description="label smoothing where a row has one of several classes")

    @field_validator("*", mode="before")
    @classmethod
    def _as_typed(cls, value: Any) -> Any:
        return f"{value}" if isinstance(value, int | float) else value


class SearchConfig(Section):
    """How settings of training are searched for."""

    trials: int = Field(20, ge=1, description="trainings at most; the first is luban's own settings")
    minutes: float = Field(0, ge=0, description="time that all trials may take; 0: any")
    bases: tuple[str, ...] = Field((), description="base models to choose from")
    space: SpaceConfig = Field(
        SpaceConfig(), description="other bounds than the usual, such as rate=1e-5..1e-4,method=full,lora,epochs=3"
    )
    prune: bool = Field(True, description="stop a trial whose dev score is below the median of the others")
    seed: int = Field(13, description="seed of what is tried")


class LabelConfig(Section):
    """How a chat model labels texts. Nothing is asked of one unless its address is given."""

    labels: tuple[str, ...] = Field((), description="the labels to choose from")
    about: Mapping[str, str] = Field({}, description="what a label means, such as refund=the customer wants money back")
    llm: str = Field("", description="address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1")
    model: str = Field("", description="name of the chat model there")
    key_env: str = Field("", description="environment variable that holds the key, where one is needed")
    workers: int = Field(4, ge=1, le=64, description="questions under way at once")
    retries: int = Field(5, ge=0, description="times a question is asked again while the endpoint is busy")
    timeout: float = Field(60.0, gt=0, description="seconds that an answer may take")
    price_in: float = Field(0, ge=0, description="price of a million tokens sent, to count the cost")
    price_out: float = Field(0, ge=0, description="price of a million tokens received")


class WriteConfig(Section):
    """How an answer is written; only models that write heed it."""

    max_new_tokens: int = Field(128, ge=0, description="most sub-words of a written answer")
    beams: int = Field(1, ge=1, description="beams that look for the most probable answer")
    temperature: float = Field(0, ge=0, description="above 0 an answer is drawn by chance; higher: more freely")
    top_k: int = Field(0, ge=0, description="draw from the so many most probable sub-words; 0: from all")
    top_p: float = Field(1, gt=0, le=1, description="draw from the most probable sub-words that hold this share")
    seed: int = Field(13, ge=0, description="seed of what is left to chance")
    stop: str = Field("", description="text before which an answer ends")


class EvaluateConfig(Section):
    """How a folder is judged."""

    report: str = Field("", description="file for the HTML report")
    bootstrap: int = Field(1000, ge=100, description="resamples behind each interval")
    reference: str = Field(
        "", description="rows with chosen and rejected: the model that the preferences were learnt from"
    )
    worst: int = Field(30, ge=0, description="worst mistakes listed in the report")
    threads: int = Field(0, ge=0, description="processor threads; 0: all cores")
    seed: int = Field(13, description="seed of the bootstrap")


class ExportConfig(Section):
    """How a folder becomes an ONNX folder."""

    to: Literal["onnx"] = Field("onnx", description="target")
    quantise: Literal["auto", "none", "int8"] = Field(
        "auto", description="int8 weights; auto: kept only when faster on this machine and inside max_flips"
    )
    max_difference: float = Field(1e-3, gt=0, description="largest difference of a probability allowed to plain ONNX")
    max_flips: float = Field(0.02, ge=0, description="largest share of rows whose answer may change with int8")
    rows: int = Field(500, ge=8, description="held-out rows compared")
    threads: int = Field(0, ge=0, description="processor threads; 0: all cores")


class ServeConfig(Section):
    """How folders are served."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port; 0: any free one")
    threads: int = Field(0, ge=0, description="processor threads of one call; 0: by calibration at start-up")
    queue: int = Field(256, ge=1, description="requests taken and not yet answered, a model; more are refused with 429")
    batch_rows: int = Field(8, ge=1, description="most rows in one call of the model")
    batch_tokens: int = Field(2048, ge=8, description="most sub-words in one call of the model")
    max_body: int = Field(2**20, ge=1024, description="bytes of the largest request body")
    max_rows: int = Field(256, ge=1, description="rows in the largest request")
    max_text: int = Field(100_000, ge=1, description="characters of the longest text")
    max_explain: int = Field(2000, ge=1, description="characters of the longest text that is explained")
    drain: float = Field(10.0, ge=0, description="seconds that running requests get after SIGTERM")


class Project(Section):
    """`luban.yaml`: the line for one application, stage by stage."""

    name: str = Field("model", description="name of the model, and of its folder")
    out: str = Field("runs", description="directory for everything the line makes, relative to luban.yaml")
    prepare: PrepareConfig = PrepareConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()


S = TypeVar("S", bound=Section)


def parse(section: type[S], values: Mapping[str, Any], *, source: str = "options", flags: bool = False) -> S:
    """A section from plain values; raises `ConfigError` that names the path and the nearest known key.

    ``flags``: the values were typed as options, so an error names ``--valid-share`` instead of ``valid_share``.
    """
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise explained(section, error, "" if flags else source) from error
