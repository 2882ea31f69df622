"""Recommendation from text: what a user took, in order, to a ranked list of what comes next.

A request is a ``history`` of item ids (oldest first), a ``user`` whose history the folder keeps, or a ``text`` of somebody
of whom nothing else is known. The item tower reads the item's text; the user tower is a weighted sum of item vectors
(`luban.towers`). Items and their vectors stand in the folder, so that only a ``text`` runs the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder
from luban.errors import DataError, FolderError, nearest_hint
from luban.metrics.recommending import CUT, coverage, found, popularity, rank_of
from luban.outputs import POOLING
from luban.records import Prediction, Recommended, Row, Rows
from luban.tasks.base import Calibration, Column, Floats, Task, class_loss, required_text, softmax, stitched
from luban.towers import ITEMS, TOWERS, USERS, Shop

if TYPE_CHECKING:
    import torch

HISTORY = Column("history", "ids of the items a user took, oldest first", ("items", "sequence", "历史"), required=False)
USER = Column(
    "user", "who took the item", ("user_id", "userid", "uid", "customer", "customer_id", "用户"), required=False
)
ABOUT = Column(
    "text", "the item's text", ("title", "name", "description", "item_text", "标题", "名称", "文本"), required=False
)
ITEM = Column(
    "item", "the id of what was taken",
    ("item_id", "itemid", "iid", "movie_id", "movieid", "product", "product_id", "asin", "sku", "article_id", "物品", "商品"),
    target=True,
)  # fmt: skip
RATING = Column("rating", "how much it was liked", ("score", "stars", "评分"), required=False, target=True)
TIME = Column("time", "when it was taken", ("timestamp", "date", "datetime", "ts", "时间"), required=False, target=True)
CATEGORIES = Column(
    "categories", "the item's categories", ("category", "genres", "genre", "类别"), required=False, target=True
)
TOP = Column("top", "how many items to recommend", required=False, option=True)
AGAIN = Column("again", "whether items of the history may be recommended, too", required=False, option=True)
APART = re.compile(r"[\s,;|]+")
MOST = 1_000
"items in one answer"


@dataclass(frozen=True, slots=True)
class Wish:
    """A request by its items' places in the catalogue; ``right``: the place of the item to be found, -1 for one not there."""

    items: tuple[int, ...]
    top: int
    again: bool
    unknown: tuple[str, ...] = ()
    right: int | None = None


class Recommendation(Task):
    """Rows of ``history`` and the ``item`` that came next; rows to learn from are whole histories."""

    name = "recommendation"
    columns = (HISTORY, USER, ABOUT, TOP, AGAIN, ITEM, RATING, TIME, CATEGORIES)
    model_class = "AutoModel"
    main_score = f"ndcg@{CUT}"
    embeds = True
    recommends = True
    whole_batch = True
    files = (ITEMS, TOWERS, USERS)

    def __init__(
        self,
        labels: Sequence[str] = (),
        calibration: Calibration | None = None,
        settings: Mapping[str, Any] | None = None,
        shop: Shop | None = None,
    ) -> None:
        super().__init__(labels, calibration, settings)
        self._shop = shop

    @property
    def shop(self) -> Shop:
        """The items, their vectors and histories that are kept; raises `FolderError` for a task that has not been taught."""
        if self._shop is None:
            raise FolderError("This recommender has no items.", "Training gives it some.", "Open a trained folder.")
        return self._shop

    @property
    def outputs(self) -> int:
        """Numbers of a text's vector."""
        return 1 if self._shop is None else len(self._shop.towers.centre)

    @property
    def parts(self) -> tuple[Any, ...]:
        """No class question is asked."""
        return ()

    def with_files(self, folder: Path) -> Self:
        return self.stocked(Shop.open(folder))

    def stocked(self, shop: Shop) -> Self:
        """The task with these items."""
        return type(self)(self.labels, self.calibration, self.settings, shop)

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if record.get("user") is not None:
            row["user"] = item_id(record["user"], "user")
        if record.get("history") is not None:
            row["history"] = _ids(record["history"])
        if record.get("text") is not None:
            row["text"] = required_text(record, "text")
        if not labelled and ("text" in row) + ("history" in row or "user" in row) != 1:
            raise DataError(
                "nobody is asked about." if not row else "a text and a history are both given.",
                "A row has a history (item ids, oldest first), a user whose history is kept, or a text.",
                'Send {"history": ["ID", "ID"]} or {"text": "..."}.',
                column="history",
            )
        if record.get("item") is not None:
            row["item"] = item_id(record["item"], "item")
            _check_leak(row)
        return row | _options(record)

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        met: set[str] = set()
        for row in rows:
            met.update(row.get("history") or (), (row["item"],) if row.get("item") else ())
            if len(met) > 1:
                return cls()
        raise DataError(
            f"every row has the same item ({next(iter(met))!r})." if met else "no row has an item.",
            "There must be different items to choose from.",
            "Check that the right column is read (--columns item=NAME).",
            column="item",
        )

    def question(self, row: Row) -> dict[str, Any]:
        return {name: row[name] for name in ("text", "history") if row.get(name) is not None}

    def asks_model(self, rows: Rows) -> list[Row]:
        """Rows that the encoder has to read: texts of items, as many as there are rows, most of all the popular ones."""
        catalogue = self.shop.catalogue
        order = np.argsort(-catalogue.taken, kind="stable")[: max(len(rows), CUT)]
        return [{"text": catalogue.texts[i]} for i in order]

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        """A text as windows; of a history nothing is read, its items' vectors are known."""
        wish = self._wish(row)
        if row.get("text") is not None:
            if self.settings.get("items_by") == "id":
                raise DataError(
                    "this model knows items by their ids alone.",
                    "A text can be asked about where it was trained with --items-by both or text.",
                    "Send a history: item ids, oldest first.",
                    column="text",
                )
            read = encoder.text(row["text"])
            return Encoded(read.windows, read.text, read.tokens, read.truncated, wish=wish)
        longer = len(wish.items) > len(self.shop.towers.recency)
        return Encoded((), "", 0, truncated=longer, wish=wish)

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        """The item's place in the catalogue, for each window."""
        right = self.shop.catalogue.index[row["item"]]
        return [np.array(right, dtype=np.int64) for _ in encoded.windows]

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        """The most probable items that are not in the history; ``rank``: that of the right item, where the row has one."""
        wish: Wish = encoded.wish
        towers, catalogue = self.shop.towers, self.shop.catalogue
        user = towers.of_text(stitched(encoded, outputs)) if outputs else towers.user(wish.items)
        scores = towers.scores(user)
        rank = None
        if wish.right is not None:
            rank = rank_of(scores, wish.items, wish.right) if wish.right >= 0 else len(scores) + 1
        if wish.items and not wish.again:
            scores[list(wish.items)] = -np.inf
        chances = softmax(scores) if np.isfinite(scores).any() else np.zeros(len(scores))
        best = [int(i) for i in _top(chances, wish.top) if chances[i] > 0]
        return Prediction(
            items=tuple(Recommended(catalogue.ids[i], catalogue.texts[i], float(chances[i])) for i in best),
            unknown=wish.unknown,
            rank=rank,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        scores = {name: float(values.mean()) for name, values in found(ranks(predictions)).items()}
        catalogue = self.shop.catalogue
        lists = [[catalogue.index[one.item] for one in (p.items or ())[:CUT]] for p in predictions]
        scores[f"coverage@{CUT}"] = coverage(lists, len(catalogue.ids))
        scores[f"popularity@{CUT}"] = popularity(lists, catalogue.taken)
        return scores

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """``logits`` (b, c) of the candidates, ``targets`` (b,) the right one's place among them."""
        return class_loss(logits, targets, weights, smoothing)

    def model_config(self) -> dict[str, Any]:
        return {POOLING: self.settings.get("pooling", "mean")}

    def _wish(self, row: Row) -> Wish:
        index = self.shop.catalogue.index
        history = row.get("history")
        if history is None:
            history = self._kept(row["user"]) if row.get("user") is not None else ()
        right = None if row.get("item") is None else index.get(row["item"], -1)
        top = int(row.get("top") or self.settings.get("top", CUT))
        return Wish(
            tuple(index[item] for item in history if item in index),
            top if right is None else max(top, CUT),
            bool(row.get("again")),
            tuple(item for item in history if item not in index),
            right,
        )

    def _kept(self, user: str) -> Sequence[str]:
        users = self.shop.users
        if users is None:
            raise DataError(
                "this model keeps no histories of users.",
                "A user is known where the model was trained with --keep-users.",
                "Send the history: item ids, oldest first.",
                column="user",
            )
        if user not in users:
            raise DataError(
                f"the user {user!r} is not known.",
                f"Histories of {len(users):,} users are kept.",
                nearest_hint(user, list(users)[:10_000]) or "Send the history: item ids, oldest first.",
                column="user",
            )
        return users[user]


def ranks(predictions: Sequence[Prediction]) -> list[int]:
    """The rank of each row's right item; raises `DataError` where a row has none."""
    told = [answer.rank for answer in predictions]
    if any(rank is None for rank in told):
        raise DataError(
            "a row has no item.", "A recommendation is judged by the item that came next.", "Name its column.",
            column="item",
        )  # fmt: skip
    return [rank for rank in told if rank is not None]


def item_id(value: object, column: str) -> str:
    """An id as text, numbers in their decimal form; raises `DataError` for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise DataError(
            f"{value!r} is no id.", "A text or a whole number.", "Mend it or remove the row.", column=column
        )
    return text


def _ids(value: object) -> list[str]:
    """A list of ids, or a text of ids with spaces or commas between them."""
    if isinstance(value, str):
        value = [part for part in APART.split(value) if part]
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{value!r:.60} is no history.", "A list of item ids, oldest first.", "Mend it.", column="history"
        )
    return [item_id(one, "history") for one in value]


def _check_leak(row: Row) -> None:
    """Raises `DataError` where what is to be found is told."""
    if row["item"] in (row.get("history") or ()):
        raise DataError(
            f"the item to be found, {row['item']!r}, stands in the history.",
            "A history ends before the item that is to be found.",
            "Take it out of the history.",
            column="history",
        )


def _options(record: Row) -> dict[str, Any]:
    """How a row wants to be answered; raises `DataError` for what cannot be."""
    row: dict[str, Any] = {}
    top, again = record.get("top"), record.get("again")
    if top is not None:
        if isinstance(top, bool) or not str(top).isdecimal() or not 1 <= int(str(top)) <= MOST:
            raise DataError(
                f"top is {top!r}.", f"A whole number from 1 to {MOST}.", "Leave it out for the usual.", column="top"
            )
        row["top"] = int(str(top))
    if again is not None:
        if not isinstance(again, bool):
            raise DataError(f"again is {again!r}.", "It is true or false.", "Leave it out.", column="again")
        row["again"] = again
    return row


def _top(chances: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The places of the largest numbers, largest first; of equal ones the first in the catalogue."""
    count = min(count, len(chances))
    edge = np.partition(chances, len(chances) - count)[len(chances) - count]
    held = np.flatnonzero(chances >= edge)
    return np.asarray(held[np.argsort(-chances[held], kind="stable")][:count])
