"""The words of a search's report in English and Chinese, side by side; nothing is laid out here."""

from __future__ import annotations

from luban.page import Phrases

WORDS: dict[str, tuple[str, str]] = {
    "search": ("search", "搜索"),
    "language": ("中文", "English"),
    "said": (
        "Of {tried} trials, {complete} were trained to the end; the best scores {best} on {rows} validation rows, luban's own "
        "settings {usual}.",
        "共试 {tried} 次，其中 {complete} 次完整训练；最好的一次在 {rows} 行验证数据上得 {best}，luban 的默认设置得 {usual}。",
    ),
    "said_usual": (
        "Of {tried} trials, {complete} were trained to the end; none scores higher on the {rows} validation rows than luban's "
        "own settings, {usual}.",
        "共试 {tried} 次，其中 {complete} 次完整训练；在 {rows} 行验证数据上，没有一次超过 luban 的默认设置（{usual}）。",
    ),
    "under_way": (
        "The search is under way or was stopped: the same command goes on with it.",
        "搜索尚未结束或被中断：再次运行同一命令即可继续。",
    ),
    "optimistic": (
        "The dev score of the best trial is optimistic: of many trials, the one that suits these validation rows best was "
        "chosen. Only rows that were not chosen by tell how good it is.",
        "最佳一次的验证得分偏乐观：它是从多次尝试中按这些验证数据挑出来的。只有未用于挑选的数据才能说明真实水平。",
    ),
    "no_test": ("No test rows were given.", "没有给出测试数据。"),
    "on_dev": ("on the validation rows, chosen by them", "验证数据上（用于挑选）"),
    "on_test": ("on {rows} test rows, scored once", "{rows} 行测试数据上（只评一次）"),
    "test_interval": ("95% interval {low} – {high}", "95% 区间 {low} – {high}"),
    "fact_trials": ("trials", "次尝试"),
    "fact_time": ("in all", "总用时"),
    "fact_usual": ("luban's own settings", "luban 默认设置"),
    "history": ("Trial after trial", "逐次尝试"),
    "about_history": (
        "Each dot is a trial that was trained to the end, the line the best so far, the ring luban's own settings; a cross was "
        "stopped early, at its last dev score.",
        "每个点是一次完整训练，折线是迄今最好，圆环是 luban 的默认设置；叉号表示提前停止，取其最后的验证得分。",
    ),
    "trial": ("trial", "第几次"),
    "dev_score": ("dev score", "验证得分"),
    "importance": ("What mattered", "哪些设置重要"),
    "about_importance": (
        "Share of the differences in dev score that a setting accounts for (PED-ANOVA). Of few trials it is a hint, no proof.",
        "各项设置对验证得分差异的贡献（PED-ANOVA）。尝试次数少时只作参考。",
    ),
    "too_few": ("Too few trials to tell.", "尝试次数太少，无法判断。"),
    "knobs": ("Setting by setting", "逐项设置"),
    "about_knobs": (
        "Dev score (upwards) of each completed trial against one setting; the best is green.",
        "每次完整训练的验证得分（纵向）与一项设置的关系；最好的为绿色。",
    ),
    "trials": ("All trials", "全部尝试"),
    "about_trials": (
        "The best first. A dash: the setting does not bear on the method.",
        "按得分排列。短横表示该设置与方法无关。",
    ),
    "state": ("how it ended", "结果"),
    "seconds": ("seconds", "秒"),
    "complete": ("complete", "完成"),
    "pruned": ("stopped early", "提前停止"),
    "failed": ("failed", "失败"),
    "skipped": ("no time left", "时间不够"),
    "interrupted": ("interrupted", "被中断"),
    "usual": ("luban's own", "默认"),
    "best": ("best", "最佳"),
    "recipe": ("The best recipe", "最佳配方"),
    "about_recipe": (
        "As luban.yaml beside this page: `luban run` trains, evaluates and exports it.",
        "即本页旁边的 luban.yaml：`luban run` 会训练、评测并导出它。",
    ),
    "left_out": ("Not tried: {method}. {why}", "未尝试：{method}。{why}"),
    "base": ("base model", "基础模型"),
    "method": ("method", "方法"),
    "rate": ("learning rate", "学习率"),
    "head_rate": ("head's learning rate", "分类头学习率"),
    "batch_rows": ("rows a step", "每步行数"),
    "epochs": ("epochs", "轮数"),
    "layers": ("frozen layers", "冻结层数"),
    "rank": ("rank", "秩"),
    "dropout": ("dropout", "dropout"),
    "smoothing": ("label smoothing", "标签平滑"),
}  # fmt: skip

both, filled = Phrases(WORDS).both, Phrases(WORDS).filled
