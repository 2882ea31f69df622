"""Text to a vector near those that mean the same: rows of a query and the passage that answers it, or of two texts and a score.

The model is the encoder alone (`outputs.sentence_vectors` pools it). Learning is contrastive: a query's own passage against
those of the batch's other rows and its hard negatives; scored rows are learnt by their order. It searches nothing itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import IGNORE, Encoded, TextEncoder, side_by_side
from luban.errors import ConfigError, DataError
from luban.metrics.ranking import Ranks, found, ranks, shortened
from luban.metrics.regression import pearson, spearman
from luban.outputs import POOLING
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    NEGATIVES,
    PASSAGE,
    QUERY,
    Column,
    Floats,
    Task,
    required_number,
    required_text,
    stitched_apart,
    texts_in,
)

if TYPE_CHECKING:
    import torch

    from luban.bases import Base
    from luban.config import TrainConfig

SCORE = Column(
    "score",
    "how near the two texts are, larger is nearer",
    ("label", "similarity", "relatedness", "relatedness_score", "分数", "相似度"),
    required=False,
    target=True,
)
KIND = Column("kind", "what the text is: query or passage", required=False)
KINDS = ("query", "passage")
E5 = re.compile(r"(^|[-_/])e5([-_]|$)", re.IGNORECASE)
"names of models that were trained with the prefixes below (Wang et al. 2022, 2024: E5 and multilingual E5)"
E5_PREFIXES = {"query": "query: ", "passage": "passage: "}


@dataclass(frozen=True, slots=True)
class Search:
    """A search over the rows' passages: vectors (n, d) and (m, d), and which ``passages`` are right for each query."""

    queries: Floats
    vectors: Floats
    passages: tuple[str, ...]
    right: tuple[tuple[int, ...], ...]

    def ranks(self, size: int = 0) -> Ranks:
        """Ranks of the right passages; ``size``: by so many of each vector's first numbers."""
        if not size:
            return ranks(self.queries, self.vectors, self.right)
        return ranks(shortened(self.queries, size), shortened(self.vectors, size), self.right)


class Embedding(Task):
    """Search, matching, clustering: rows of ``text`` (the query) and ``text_pair`` (what is near it)."""

    name = "embedding"
    columns = (QUERY, PASSAGE, NEGATIVES, SCORE, KIND)
    model_class = "AutoModel"
    embeds = True
    whole_batch = True

    @property
    def main_score(self) -> str:  # type: ignore[override]
        """Mean reciprocal rank of a search; of scored rows Spearman's correlation."""
        return "spearman" if self.settings.get("scored") else "mrr"

    @property
    def parts(self) -> tuple[Any, ...]:
        """No class question is asked."""
        return ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The prefixes of the vector that are trained to stand alone."""
        return tuple(self.settings.get("dimensions", ()))

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        if labelled or record.get("text_pair") is not None:
            row["text_pair"] = required_text(record, "text_pair")
        if "negatives" in record:
            row["negatives"] = texts_in(record, "negatives")
        if "score" in record and labelled:
            row["score"] = required_number(record, "score")
        if record.get("kind") is not None:
            row["kind"] = _kind(record["kind"])
        return row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        scored = is_scored(rows)
        if not scored and len({row["text_pair"] for row in rows}) < 2:
            raise DataError(
                "every row has the same passage.",
                "There must be different passages to tell apart.",
                "Check that the right column is read (--columns text_pair=NAME).",
                column="text_pair",
            )
        return cls(settings={"scored": scored})

    def for_run(self, config: TrainConfig, base: Base) -> Self:
        prefixes = _prefixes(base)
        chosen = {"query": config.query_prefix, "passage": config.passage_prefix}
        told = {kind: prefixes[kind] if text == "auto" else text for kind, text in chosen.items()}
        width = int(_json(base.path / "config.json").get("hidden_size", 0))
        if any(size > width for size in config.dimensions):
            raise ConfigError(
                f"dimensions has {max(config.dimensions)}.",
                f"The vectors of {base.name} have {width} numbers.",
                "Name smaller sizes.",
            )
        settings = {
            **self.settings,
            "pooling": _pooling(base) if config.pooling == "auto" else config.pooling,
            "prefixes": told,
            "dimensions": sorted(config.dimensions, reverse=True),
            "temperature": config.contrast_temperature,
            "symmetric": config.symmetric,
        }
        return type(self)(self.labels, self.calibration, settings)

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """The text; after it, apart, its passage and the wrong ones, where the row has them."""
        second = "query" if self.settings.get("scored") else "passage"
        texts = [encoder.text(self._prefix(row.get("kind") or "query") + row["text"])]
        if row.get("text_pair") is not None:
            near = [row["text_pair"], *(row.get("negatives") or ())]
            texts += [encoder.text(self._prefix(second) + text) for text in near]
        return side_by_side(texts)

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """The score of a scored row; else a number for each text that is the same for equal texts, the query's first."""
        if self.settings.get("scored"):
            return [np.array([row["score"]], dtype=np.float32)]
        texts = [row["text"], row["text_pair"], *(row.get("negatives") or ())]
        return [np.array([_number(text) for text in texts], dtype=np.int64)]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        own, *others = (_unit(vector) for vector in stitched_apart(encoded, outputs))
        return Prediction(
            embedding=tuple(own.tolist()),
            passages=tuple(tuple(vector.tolist()) for vector in others) or None,
            score=float(own @ others[0]) if others else None,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        if is_scored(rows):
            numbers = [required_number(row, "score") for row in rows]
            near = [float(p.score or 0.0) for p in predictions]
            return {"spearman": spearman(numbers, near), "pearson": pearson(numbers, near)}
        search = searched(rows, predictions)
        scores = {name: float(values.mean()) for name, values in found(search.ranks()).items()}
        for size in self.sizes:
            if size < search.vectors.shape[1]:
                scores[f"mrr_{size}d"] = float(found(search.ranks(size), ())["mrr"].mean())
        return scores

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """``logits``: vectors of all texts, row by row; ``targets`` (b, texts) as of `targets`, padded."""
        from luban.contrastive import cosent, nested

        if not targets.is_floating_point():
            return (self._contrast(logits, targets) * weights).sum()
        pairs, scores, heat = [logits[0::2], logits[1::2]], targets[:, 0], self._heat()
        return nested(pairs, self.sizes, lambda v: cosent(v[0], v[1], scores, temperature=heat)) * weights.sum()

    def _contrast(self, vectors: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        import torch

        from luban.contrastive import info_nce, known_pairs, nested

        counts = (ids != IGNORE).sum(1)
        starts = counts.cumsum(0) - counts
        flat, rows = ids[ids != IGNORE], torch.arange(len(ids), device=ids.device)
        passage = torch.ones(len(flat), dtype=torch.bool, device=ids.device)
        passage[starts] = False
        right = starts - rows
        asked, held = flat[starts], flat[passage]
        rivals = ~known_pairs(asked, held[right], held) & (asked[:, None] != held[None, :])

        def one(v: Sequence[torch.Tensor]) -> torch.Tensor:
            there = info_nce(v[0], v[1], right, temperature=self._heat(), rivals=rivals)
            if not self.settings.get("symmetric"):
                return there
            back = info_nce(v[1][right], v[0], rows, temperature=self._heat(), rivals=rivals[:, right].T)
            return (there + back) / 2

        return nested([vectors[starts], vectors[passage]], self.sizes, one)

    def model_config(self) -> dict[str, Any]:
        return {POOLING: self.settings.get("pooling", "mean")}

    def companions(self, width: int, longest: int) -> dict[str, str]:
        """What sentence-transformers reads: the encoder, its pooling, length 1, the prefixes as prompts."""
        first = self.settings.get("pooling") == "first"
        kinds = ("Transformer", "Pooling", "Normalize")
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ]
        pooling = {
            "word_embedding_dimension": width, "pooling_mode_cls_token": first, "pooling_mode_mean_tokens": not first,
        }  # fmt: skip
        prefixes = {**self.settings.get("prefixes", {}), "document": self._prefix("passage")}
        prompts = {"prompts": prefixes, "similarity_fn_name": "cosine"}
        files = {
            "modules.json": modules,
            "1_Pooling/config.json": pooling,
            "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
            "config_sentence_transformers.json": prompts,
        }
        return {name: json.dumps(value, indent=1, ensure_ascii=False) + "\n" for name, value in files.items()}

    def _prefix(self, kind: str) -> str:
        return str(self.settings.get("prefixes", {}).get(kind, ""))

    def _heat(self) -> float:
        return float(self.settings.get("temperature", 0.05))


def is_scored(rows: Rows) -> bool:
    """Whether rows tell degrees: scores that are not all the same (a column of ones says only that each pair belongs)."""
    scores = {float(row["score"]) for row in rows if row.get("score") is not None}
    if len(scores) == 1 and max(scores) <= 0:
        raise DataError(
            f"every row has the score {max(scores):g}.",
            "A larger score is nearer: at least some pairs must belong together.",
            "Check that the right column is read (--columns score=NAME).",
            column="score",
        )
    return len(scores) > 1


def searched(rows: Rows, predictions: Sequence[Prediction]) -> Search:
    """The search of each row's query among the distinct passages of all rows, right or wrong for whomever.

    Every passage that some row gives to the same query is right for it. Raises `DataError` where answers lack passages.
    """
    place: dict[str, int] = {}
    vectors: list[tuple[float, ...]] = []
    right: dict[str, set[int]] = {}
    for row, answer in zip(rows, predictions, strict=True):
        if answer.passages is None:
            raise DataError("a row has no passage.", "A search is judged by the right passage.", "Name its column.")
        texts = [row["text_pair"], *(row.get("negatives") or ())]
        for text, vector in zip(texts, answer.passages, strict=True):
            if place.setdefault(text, len(place)) == len(vectors):
                vectors.append(vector)
        right.setdefault(_folded(row["text"]), set()).add(place[texts[0]])
    queries = np.array([answer.embedding for answer in predictions], dtype=np.float32)
    wanted = tuple(tuple(sorted(right[_folded(row["text"])])) for row in rows)
    return Search(queries, np.array(vectors, dtype=np.float32), tuple(place), wanted)


def _kind(value: object) -> str:
    if value not in KINDS:
        raise DataError(
            f"the kind is {value!r}.", f"It is one of {', '.join(KINDS)}.", "Leave it out for a query.", column="kind"
        )
    return str(value)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _number(text: str) -> int:
    """A number of 56 bits that equal texts share."""
    return int.from_bytes(hashlib.blake2b(_folded(text).encode(), digest_size=7).digest(), "big")


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)


def _pooling(base: Base) -> str:
    """How the base says it is read (sentence-transformers' 1_Pooling/config.json, or luban's own entry); else the mean."""
    told = _json(base.path / "1_Pooling" / "config.json")
    if told.get("pooling_mode_cls_token") or told.get("pooling_mode") == "cls":
        return "first"
    return str(_json(base.path / "config.json").get(POOLING, "mean"))


def _prefixes(base: Base) -> dict[str, str]:
    """The prefixes a base was trained with: those it names itself, else E5's for a base that is called so."""
    told = _json(base.path / "config_sentence_transformers.json").get("prompts")
    if isinstance(told, Mapping) and any(told.values()):
        return {"query": str(told.get("query", "")), "passage": str(told.get("passage", told.get("document", "")))}
    return dict(E5_PREFIXES) if E5.search(base.name) else dict.fromkeys(KINDS, "")


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
