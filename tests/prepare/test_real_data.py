"""Public data sets, where they are at hand: each loads by name alone, with the rows its authors count."""

from __future__ import annotations

from pathlib import Path

import pytest

from luban.config import PrepareConfig
from luban.errors import DataError
from luban.stages.prepare import check, load, prepare
from luban.tasks import TASKS

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not at hand")

SETS = [
    ("intent-en-banking77", "text-classification", (10003, 0, 3080)),
    ("intent-en-bitext-support", "text-classification", (6480, 810, 810)),
    ("intent-en-clinc150", "text-classification", (15100, 3100, 5500)),
    ("sent-en-sst2", "text-classification", (6920, 872, 1821)),
    ("sent-en-sst2/glue_dev.tsv", "text-classification", (872, 0, 0)),
    ("sent-zh-waimai10k", "text-classification", (11987, 0, 0)),
    ("topic-en-trec", "text-classification", (5452, 0, 500)),
    ("topic-zh-thucnews10/dev.txt", "text-classification", (10000, 0, 0)),
    ("sum-zh-csl/cls_ctg", "text-classification", (8000, 1000, 1000)),
    ("fewclue-zh/tnews", "text-classification", (240, 240, 2010)),
    ("fewclue-zh/eprstmt", "text-classification", (32, 32, 610)),
    ("fewclue-zh/csldcp", "text-classification", (536, 536, 1784)),
    ("fewclue-zh/bustm", "text-pair", (32, 32, 1772)),
    ("fewclue-zh/ocnli", "text-pair", (32, 32, 2520)),
    ("pair-en-sick", "text-pair", (4500, 500, 4927)),
    ("pair-zh-stsb", "text-pair", (5231, 1458, 1361)),
    ("slu-en-atis", "text-classification", (4478, 500, 893)),
    ("slu-en-snips", "token-classification", (13084, 700, 700)),
    ("slu-zh-cais", "token-classification", (7995, 994, 1012)),
    ("slu-zh-cais", "text-classification", (7995, 994, 1012)),
    ("slu-zh-smp2019", "token-classification", (2053, 256, 270)),
    ("slu-en-atis", "intent-and-slots", (4478, 500, 893)),
    ("slu-en-snips", "intent-and-slots", (13084, 700, 700)),
    ("slu-zh-cais", "intent-and-slots", (7995, 994, 1012)),
    ("slu-zh-smp2019", "intent-and-slots", (2053, 256, 270)),
    ("qa-zh-cmrc2018/dev.json", "extractive-qa", (3219, 0, 0)),
    ("ner-en-wnut17", "token-classification", (3394, 1009, 1287)),
    ("ner-zh-weibo", "token-classification", (1350, 270, 270)),
    ("pii-en-presidio/synth_dataset_v2.json", "token-classification", (1500, 0, 0)),
]


@pytest.mark.parametrize(("name", "task", "counts"), SETS)
def test_every_row_of_a_data_set_is_taken(name: str, task: str, counts: tuple[int, int, int]) -> None:
    loaded = load(str(DATA / name), TASKS[task])
    found = tuple(len(loaded.parts[part].rows) if part in loaded.parts else 0 for part in ("train", "valid", "test"))
    assert found == counts
    assert loaded.rejects == ()


def test_cluener_has_the_entities_its_authors_count_and_a_test_part_without_tags() -> None:
    prepared = prepare(PrepareConfig(source=str(DATA / "ner-zh-cluener")), TASKS["token-classification"])
    assert [len(rows) for rows in (prepared.train, prepared.valid, prepared.test)] == [10748, 1343, 0]
    entities = sum(tag.startswith("B-") for row in prepared.train for tag in row["tags"])
    assert entities + prepared.notes["nested"] == 23338
    assert len(prepared.rejects) == 1345


def test_an_offset_that_its_authors_got_wrong_is_named() -> None:
    with pytest.raises(DataError, match="'Ayers' does not stand at 21"):
        load(str(DATA / "pii-en-presidio" / "generated_small.json"), TASKS["token-classification"])


def test_the_331_test_texts_of_chnsenticorp_that_stand_in_train_are_found() -> None:
    report = check(str(DATA / "sent-zh-chnsenticorp"), TASKS["text-classification"])
    (leak,) = report.of("leak", "test")
    assert (leak.count, report.rows["test"]) == (331, 1200)
    assert "869" in leak.message


def test_the_labels_that_the_test_part_of_atis_adds_are_named() -> None:
    report = check(str(DATA / "slu-en-atis"), TASKS["text-classification"])
    assert "atis_day_name" in report.of("unseen-label", "test")[0].message


def test_the_damaged_question_of_trec_is_found() -> None:
    assert check(str(DATA / "topic-en-trec"), TASKS["text-classification"]).of("encoding")[0].rows == (66,)


def test_answers_that_subjqa_writes_with_other_words_than_the_review_are_set_aside_and_the_others_are_placed() -> None:
    loaded = load(
        str(DATA / "qa-en-subjqa/grocery/dev.parquet"), TASKS["extractive-qa"], config=PrepareConfig(strict=False)
    )
    rows = [dict(row) for row in loaded.parts["train"].rows]
    assert len(rows) + len(loaded.rejects) == 228
    assert len(loaded.rejects) < 12
    answers = [(row["context"], answer) for row in rows for answer in row["answers"]]
    assert answers
    assert all(context[one["start"] :].startswith(one["text"]) for context, one in answers)
    assert all("ANSWERNOTFOUND" not in row["context"] for row in rows)


def test_questions_about_one_context_come_to_one_part() -> None:
    config = PrepareConfig(source=str(DATA / "qa-zh-cmrc2018/trial.json"), strict=False)
    prepared = prepare(config, TASKS["extractive-qa"])
    first, second = ({row["context"] for row in part} for part in (prepared.train, prepared.valid))
    assert second
    assert not first & second
