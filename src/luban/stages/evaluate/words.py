"""The words of the report in English and Chinese, side by side; nothing is laid out here."""

from __future__ import annotations

from luban.page import Phrases

WORDS: dict[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "准确率"),
    "macro_f1": ("macro F1", "宏平均 F1"),
    "micro_f1": ("micro F1", "微平均 F1"),
    "weighted_f1": ("weighted F1", "加权 F1"),
    "roc_auc": ("ROC-AUC", "ROC-AUC"),
    "exact_match": ("exact match", "完全匹配"),
    "answerable_f1": ("F1 where there is an answer", "有答案行的 F1"),
    "answerable_exact_match": ("exact match where there is an answer", "有答案行的完全匹配"),
    "unanswerable_accuracy": ("accuracy where there is none", "无答案行的准确率"),
    "entity_f1": ("entity F1, strict", "实体 F1（严格）"),
    "entity_precision": ("entity precision", "实体精确率"),
    "entity_recall": ("entity recall", "实体召回率"),
    "slot_f1": ("slot F1, strict", "槽位 F1（严格）"),
    "slot_precision": ("slot precision", "槽位精确率"),
    "slot_recall": ("slot recall", "槽位召回率"),
    "token_accuracy": ("token accuracy", "词级准确率"),
    "pearson": ("Pearson correlation", "皮尔逊相关"),
    "spearman": ("Spearman correlation", "斯皮尔曼相关"),
    "mae": ("mean absolute error", "平均绝对误差"),
    "preference_accuracy": ("preferences learnt: the chosen answer gained more", "偏好准确率：更好的回答概率升得更多"),
    "preference_margin": ("reward margin", "奖励差"),
    "preference_log_likelihood": ("log probability of the preferences", "偏好的对数概率"),
    "ranking_accuracy": ("the chosen answer is the more probable one", "更好的回答概率更高"),
    "evaluation": ("evaluation", "评估报告"),
    "interval": ("95 % interval {low} to {high}", "95% 区间 {low} 至 {high}"),
    "language": ("中文", "English"),
    "said_label": (
        "{right} of {rows} rows are answered rightly, {wrong} are not.",
        "{rows} 行中有 {right} 行回答正确，{wrong} 行有误。",
    ),
    "said_text": (
        "{right} of {rows} texts are written as the right ones are, {wrong} are not.",
        "{rows} 段文本中有 {right} 段与正确文本相同，{wrong} 段不同。",
    ),
    "said_answer": (
        "{right} of {rows} questions are answered exactly, {wrong} are not.",
        "{rows} 个问题中有 {right} 个的回答完全正确，{wrong} 个不完全正确。",
    ),
    "said_embedding": (
        "{right} of {rows} queries find their right passage first, {wrong} do not.",
        "{rows} 个查询中有 {right} 个首先找到正确段落，{wrong} 个没有。",
    ),
    "said_similarity": (
        "{rows} pairs are held against how near people say they are.",
        "{rows} 对文本与人工相似度对照。",
    ),
    "said_relevance": (
        "Over {rows} rows, {wrong} lists do not begin with a right passage.",
        "{rows} 行中有 {wrong} 个列表的第一个段落不正确。",
    ),
    "said_answers": (
        "{right} of {rows} rows have every class right that they say.",
        "{rows} 行中有 {right} 行所标的各个类别全部正确。",
    ),
    "mean_score": ("mean of the questions' main scores", "各问题主要指标的平均"),
    "said_labels": (
        "{right} of {rows} rows have exactly the right labels, {wrong} do not.",
        "{rows} 行中有 {right} 行的标签完全正确，{wrong} 行有误。",
    ),
    "said_entities": (
        "{right} of {gold} entities are found, type and both ends right; {false} of {given} answers are wrong.",
        "{gold} 个实体中有 {right} 个的类型和两端边界都正确；{given} 个回答中有 {false} 个是错的。",
    ),
    "said_value": (
        "On average the answer is off by {mae} over {rows} rows.",
        "在 {rows} 行上，回答平均偏差 {mae}。",
    ),
    "rejects": (
        "{rejects} rows of the source could not be read and are not scored.",
        "来源中有 {rejects} 行无法读取，未参与评分。",
    ),
    "unknown_labels": (
        "{rows} rows carry a label that the model was never taught; they count as wrong. Such labels: {labels}.",
        "有 {rows} 行的标签是模型未学过的，计为错误。这类标签：{labels}。",
    ),
    "rows": ("rows", "行数"),
    "scores": ("Scores", "得分"),
    "about_scores": (
        "The whiskers are 95 % intervals: how far each score could move with other rows of the same kind.",
        "横线是 95% 区间：换一批同类数据，得分可能变动的范围。",
    ),
    "unseen": ("Unseen rows", "未见过的数据"),
    "about_unseen": (
        "{rows} rows have a text that does not stand in the training rows. Their scores are the ones to believe.",
        "有 {rows} 行文本未出现在训练数据中，应以它们的得分为准。",
    ),
    "all_unseen": ("No row's text stands in the training rows.", "没有任何一行的文本出现在训练数据中。"),
    "none_unseen": (
        "Every row's text stands in the training rows: these scores say nothing of new texts.",
        "每一行的文本都出现在训练数据中：这些得分不能说明模型对新文本的表现。",
    ),
    "naive": ("token-level weighted F1, O counted (inflated)", "词级加权 F1，计入 O（虚高）"),
    "about_naive": (
        "This figure also rewards every word outside any entity. A tagger that finds nothing scores high on it: "
        "judge by the strict entity F1.",
        "该数字把实体之外的每个词也计为得分，什么都没找到的模型也会很高：请以严格的实体 F1 为准。",
    ),
    "classes": ("Class by class", "逐类得分"),
    "types": ("Type by type", "逐类型得分"),
    "about_classes": (
        "The bar is F1, weakest first; the line joins precision and recall. On the right: gold rows.",
        "条形为 F1，最弱的在前；线段连接精确率与召回率。右侧为标注数量。",
    ),
    "weakest": ("The {shown} weakest of {all} classes.", "共 {all} 类，显示最弱的 {shown} 类。"),
    "full_table": ("The whole table", "完整表格"),
    "class": ("class", "类别"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "f1": ("F1", "F1"),
    "support": ("support", "标注数"),
    "macro": ("macro average", "宏平均"),
    "micro": ("micro average", "微平均"),
    "weighted": ("weighted average", "加权平均"),
    "confusion": ("What is taken for what", "混淆情况"),
    "about_confusion": (
        "Rows are gold, columns are answers; the darker, the larger the share of the row.",
        "行是标注，列是回答；颜色越深，占该行比例越大。",
    ),
    "confusion_some": (
        "Of {all} classes, the {shown} that are confused most often.",
        "共 {all} 类，仅显示最常混淆的 {shown} 类。",
    ),
    "confusion_words": ("Counted word by word; O is no entity.", "逐词统计；O 表示不属于任何实体。"),
    "top_confusions": ("Most frequent confusions", "最常见的混淆"),
    "gold": ("gold", "标注"),
    "answer": ("answer", "回答"),
    "calibration": ("Does it know how sure it is?", "置信度可信吗？"),
    "about_answers": (
        "Answers given with 80 % should be right 80 % of the time: the closer to the diagonal, the better.",
        "以 80% 置信度给出的回答应有 80% 正确：越接近对角线越好。",
    ),
    "about_labels": (
        "Labels given a probability of 80 % should apply 80 % of the time: the closer to the diagonal, the better.",
        "概率为 80% 的标签应有 80% 成立：越接近对角线越好。",
    ),
    "about_entities": (
        "Entities given with 80 % should be right 80 % of the time: the closer to the diagonal, the better.",
        "以 80% 置信度给出的实体应有 80% 正确：越接近对角线越好。",
    ),
    "ece": ("expected calibration error", "期望校准误差"),
    "brier": ("Brier score (0 best, 2 worst)", "布赖尔分数（0 最好，2 最差）"),
    "said": ("stated probability", "声称的概率"),
    "was_right": ("share right", "实际正确率"),
    "lengths": ("Short and long texts", "文本长短与错误"),
    "about_lengths": (
        "Each bar holds about a fifth of the rows, by length in sub-words; whiskers are 95 % intervals.",
        "按子词长度，每个条形约含五分之一的数据；横线为 95% 区间。",
    ),
    "kinds": ("What there is of the rows", "各行所含的内容"),
    "about_kinds": (
        "The score of rows that have the same: a text, a picture, fields; what is missing cannot help.",
        "内容相同的行的得分：文本、图片、字段；缺失的内容帮不上忙。",
    ),
    "there": ("there is", "含有"),
    "length": ("length in sub-words", "长度（子词数）"),
    "error_accuracy": ("error rate", "错误率"),
    "error_exact_match": ("rows not exactly right", "未完全匹配的比例"),
    "error_f1": ("1 − F1", "1 − F1"),
    "error_entity_f1": ("1 − entity F1", "1 − 实体 F1"),
    "error_mae": ("mean absolute error", "平均绝对误差"),
    "learning": ("How it learned", "学习过程"),
    "about_learning": (
        "Training loss, and the score on the validation rows after each evaluation; the ring marks the best.",
        "训练损失，以及每次评估时在验证数据上的得分；圆圈标出最佳点。",
    ),
    "step": ("step", "步数"),
    "epoch": ("epoch", "轮数"),
    "loss": ("loss", "损失"),
    "scatter": ("Answer against gold", "回答与标注"),
    "about_scatter": (
        "Each dot is a row; on the diagonal the answer equals gold.",
        "每个点是一行；在对角线上则回答与标注相等。",
    ),
    "mistakes": ("The worst mistakes", "最严重的错误"),
    "about_mistakes_label": ("The surer the wrong answer, the further up.", "错得越自信，排得越前。"),
    "about_mistakes_answers": (
        "Rows with a wrong class, the worst answer of a row first; all that the row says stands beside it.",
        "类别有误的行，按该行最严重的错误排列；一并列出该行的全部答案。",
    ),
    "about_mistakes_text": (
        "The fewer words in the order of the right answer, the further up.",
        "与正确回答按次序相同的词越少，排得越前。",
    ),
    "about_mistakes_answer": (
        "The surer an answer that shares nothing with gold, the further up.",
        "与标注毫无重合的回答，越自信排得越前。",
    ),
    "about_mistakes_labels": (
        "The surer a wrong label, or the less thought of a missed one, the further up.",
        "误给的标签越自信、漏掉的标签概率越低，排得越前。",
    ),
    "about_mistakes_entities": (
        "Texts with the most entities missed or wrongly given first. Green: agreed; red: missed or wrong.",
        "漏标或误标实体最多的文本在前。绿色：一致；红色：遗漏或错误。",
    ),
    "about_mistakes_embedding": (
        "The further down the right passage stands, the further up. Answer: the nearest wrong one.",
        "正确段落排得越后，列得越前。“回答”是最近的错误段落。",
    ),
    "about_mistakes_similarity": ("Pairs are judged together, not one by one.", "各对文本一并评价，不逐对判断对错。"),
    "about_mistakes_relevance": (
        "The further down the right passage stands, the further up. Answer: the best wrong one.",
        "正确段落排得越后，列得越前。“回答”是得分最高的错误段落。",
    ),
    "about_mistakes_value": ("The further off, the further up.", "偏差越大，排得越前。"),
    "often_gold": (
        "Look for wrong gold labels here first: confident mistakes often are the annotator's.",
        "请先检查标注：自信的错误往往是标注错误。",
    ),
    "more_mistakes": ("{count} more", "另外 {count} 条"),
    "no_mistakes": ("None: every row is right.", "没有：每一行都正确。"),
    "row": ("row {row}", "第 {row} 行"),
    "nothing": ("nothing", "无"),
    "for_gold": ("{p} for the gold label", "标注类别的概率为 {p}"),
    "cost": ("What it costs", "速度与体积"),
    "p50": ("one row, median", "单行，中位数"),
    "p99": ("one row, 99th percentile", "单行，第 99 百分位"),
    "rows_per_second": ("rows a second, in batches", "每秒行数（批量）"),
    "bytes": ("size on disk", "磁盘占用"),
    "peak_bytes": ("peak memory", "内存峰值"),
    "about_cost": (
        "Measured in this run: {machine}; runtime {runtime}.",
        "在本次运行中测得：{machine}；运行时 {runtime}。",
    ),
}

both, filled = Phrases(WORDS).both, Phrases(WORDS).filled
