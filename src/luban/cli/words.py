"""What the command line says, in English and Chinese: one table; errors are in chinese.toml, option help is English.

A text is looked up by its key and filled with named values; both languages must name the same values (a test holds it).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from luban.errors import ConfigError, counted

LANGUAGES = ("en", "zh")


def language(wanted: str = "", environment: Mapping[str, str] | None = None) -> str:
    """``en`` or ``zh``: what was asked for, else LUBAN_LANG, else the locale; raises `ConfigError` for another wish."""
    environment = os.environ if environment is None else environment
    asked = wanted or environment.get("LUBAN_LANG", "")
    if asked:
        short = asked.lower().replace("-", "_").split("_")[0]
        if short not in LANGUAGES:
            raise ConfigError(
                f"There is no language {asked!r}.", "luban speaks en and zh.", "Use --lang en or --lang zh."
            )
        return short
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def word(key: str, lang: str, **values: Any) -> str:
    """The text of ``key`` in a language, filled with ``values``."""
    counts = {name: Count(value) for name, value in values.items() if type(value) is int}
    return WORDS[key][LANGUAGES.index(lang)].format(**{**values, **counts})


class Count(int):
    """A number in a text: ``{n}`` is 2,000, ``{n:row}`` 2,000 rows or 1 row, ``{n:~row}`` only the noun that agrees."""

    def __format__(self, noun: str) -> str:
        if noun == "was":
            return f"{int(self):,} {'was' if self == 1 else 'were'}"
        if noun.startswith("~"):
            return counted(int(self), noun[1:]).partition(" ")[2]
        return counted(int(self), noun) if noun else f"{int(self):,}"


WORDS: dict[str, tuple[str, str]] = {
    "interrupted": (
        "Stopped. Nothing half-written is left; typed again, train, search and run resume, the others (demo too) start anew.",
        "已中断。没有留下半成品；再次运行同一命令：train、search 和 run 接着做，其余（包括 demo）从头开始。",
    ),
    # what was understood of the rows
    "rows": ("rows", "数据"),
    "understood": ("What was understood of {source}", "对 {source} 的理解"),
    "part": ("part", "部分"),
    "train": ("train", "训练"),
    "valid": ("valid", "验证"),
    "unlabelled": ("unlabelled", "无标签"),
    "replay": ("replay", "旧数据"),
    "test": ("test", "测试"),
    "items": ("items", "物品"),
    "columns": ("columns", "列"),
    "labels": ("labels", "标签"),
    "rejects": ("rejects", "剔除"),
    "parsed": ("three parsed rows", "解析出的三行"),
    "more": ("{count} more", "另有 {count} 个"),
    "none": ("none", "无"),
    "rows_written": (
        "wrote {rows:row} to {path}; {changed:was} changed",
        "已写入 {rows} 行到 {path}；其中 {changed} 行有改动",
    ),
    "unit": ("unit", "单位"),
    "median": ("median", "中位数"),
    "longest": ("longest", "最长"),
    "limit": ("limit", "上限"),
    "at_row": ("row {rows}", "第 {rows} 行"),
    "at_rows": ("rows {rows}", "第 {rows} 行"),
    "characters": ("characters", "字符"),
    "sub-words": ("sub-words", "子词"),
    "nothing_found": ("Nothing wrong was found.", "没有发现问题。"),
    # training
    "training": ("training", "训练"),
    "loss": ("loss", "损失"),
    "dev": ("dev", "验证"),
    "left": ("left", "剩余"),
    "epoch": ("epoch", "轮次"),
    "forecast": ("forecast", "预计"),
    "actual": ("actual", "实际"),
    "time": ("time", "时间"),
    "memory": ("peak memory", "内存峰值"),
    "lost_text": (
        "{count} of {rows:text} longer than the model reads, cut at the end (--max-length)",
        "{rows} 段文本中有 {count} 段超过模型可读的长度，已从末尾截断（--max-length）",
    ),
    "lost_target": (
        "{count} of {rows:target} longer than the model is to write, cut at the end (--target-length)",
        "{rows} 个目标中有 {count} 个超过模型可写的长度，已从末尾截断（--target-length）",
    ),
    "lost_characters": (
        "{count} of {rows:target} with characters that the base cannot write: take another base for these",
        "{rows} 个目标中有 {count} 个含有该基础模型写不出的字符：请换一个基础模型",
    ),
    "chosen_contrastive": (
        "method: contrastive, for {rows:row} of {labels:class} (--method full trains the whole model)",
        "方法：contrastive，因为只有 {rows} 行、{labels} 个类别（--method full 训练整个模型）",
    ),
    "forecast_line": (
        "forecast: {seconds} and {memory} for {steps:step} of at most {tokens} tokens",
        "预计：{steps} 步，每步至多 {tokens} 个词元，需 {seconds}、内存 {memory}",
    ),
    "trained": ("trained {name}", "已训练 {name}"),
    "trained_share": (
        "{share} of the parameters were trained: {count} of {all}",
        "训练了 {share} 的参数：{all} 个中的 {count} 个",
    ),
    "private_spent": (
        "privacy spent on each training row: epsilon {epsilon} at delta {delta}; the folder's README.md says what is outside",
        "每行训练数据的隐私开销：epsilon {epsilon}，delta {delta}；其中不包括什么，见模型目录里的 README.md",
    ),
    # search
    "trial": ("trial {number}", "第 {number} 次"),
    "trial_of": ("trial {number} of {trials}", "第 {number} 次，共 {trials} 次"),
    "best_so_far": ("best {score}", "最好 {score}"),
    "own_settings": ("luban's own settings", "luban 默认设置"),
    "settings": ("settings", "设置"),
    "trial_pruned": ("stopped early", "提前停止"),
    "trial_failed": ("failed", "失败"),
    "trial_skipped": ("not begun", "未开始"),
    "search_go_on": ("What was found so far is kept. To go on: {command}", "已有结果均已保存。继续搜索：{command}"),
    "searched": (
        "{path}: the best of {tried:trial} in {seconds}",
        "{path}：{tried} 次尝试中最好的一次，用时 {seconds}",
    ),
    "ended_trials": ("All trials are done; more: --trials N.", "全部尝试已完成；继续可加大 --trials。"),
    "ended_time": ("The time is used up; more: --minutes N.", "时间已用完；继续可加大 --minutes。"),
    "what_mattered": ("what mattered", "重要程度"),
    "dev_optimistic": (
        "Dev {score}: optimistic, for the trial was chosen by these rows.",
        "验证 {score}：偏乐观，因为正是按这些数据挑选的。",
    ),
    "test_once": ("On {rows} test {rows:~row}, scored once: {score}.", "在 {rows} 行测试数据上（只评一次）：{score}。"),
    "next_recipe": ("train, evaluate and export by the recipe that was found", "按找到的配方训练、评测并导出"),
    # scores
    "labelling": ("labelling", "标注中"),
    "labelling_done": (
        "{path}: {labelled:row} labelled, {rejects} rejected, {asked:text} asked about now; {tokens:token} in all",
        "{path}：已标注 {labelled} 行，拒绝 {rejects} 行，本次询问 {asked} 条文本；共 {tokens} 个 token",
    ),
    "class": ("class", "类别"),
    "before": ("before", "之前"),
    "after": ("after", "之后"),
    "old_rows": ("all old rows", "全部旧数据"),
    "what_is_kept": ("What it still knows of the old classes", "旧类别还记得多少"),
    "perhaps_seen": (
        "The older model may have learnt some of these rows, which flatters its score before.",
        "旧模型可能学过其中一些行，之前的得分会偏高。",
    ),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "f1": ("F1", "F1"),
    "support": ("rows", "样本数"),
    "score": ("score", "指标"),
    "value": ("value", "数值"),
    "interval": ("95% interval", "95% 区间"),
    "speed": (
        "{rate} rows/s · p50 {p50} ms · p99 {p99} ms · {size}",
        "每秒 {rate} 行 · p50 {p50} 毫秒 · p99 {p99} 毫秒 · {size}",
    ),
    "scored_on": ("Scores on {rows} {part} {rows:~row}", "{rows} 行{part}数据上的评分"),
    "unknown_labels": (
        "{rows:row} of {all} carry a label that the model was never taught, and count as wrong: {labels}",
        "{all} 行中有 {rows} 行的标签是模型未学过的，计为错误：{labels}",
    ),
    "labelled": ("labelled", "有标签"),
    "report": ("report: {path}", "报告：{path}"),
    "evaluating": ("evaluating", "评测"),
    "exporting": ("exporting", "导出"),
    "prepare": ("prepare", "准备"),
    "evaluate": ("evaluate", "评测"),
    "compared_on": ("Compared on {rows:row}", "在 {rows} 行数据上比较"),
    "better": (
        "{name} is better ({score}), and the difference is no accident (p < 0.05).",
        "{name} 更好（{score}），差异并非偶然（p < 0.05）。",
    ),
    "unsure": (
        "Too close to call on these rows ({score}): take either.",
        "在这些数据上难分高下（{score}）：任选其一。",
    ),
    # export
    "export": ("export", "导出"),
    "ms_row": ("ms a row", "毫秒/行"),
    "faster_than": ("speed", "速度"),
    "answers_changed": ("changed", "改变的答案"),
    "largest_difference": ("most", "最大差异"),
    "graph_kept": ("Kept: {name}.", "采用：{name}。"),
    "exported": ("exported {path}  {before} → {after}", "已导出 {path}  {before} → {after}"),
    # explain
    "because": ("the words that mattered", "起作用的词"),
    "there": ("what there is of the rows", "各行所含的内容"),
    "mattered": ("what mattered of the row", "这一行中起作用的部分"),
    "for": ("for", "支持"),
    "against": ("against", "反对"),
    # the line
    "kept": ("kept", "沿用"),
    "would_run": ("would run", "将运行"),
    "would_keep": ("would keep", "将沿用"),
    "line": ("The line of {name}", "{name} 的流水线"),
    "why_new": ("it has not run yet", "尚未运行"),
    "why_changed": ("{what} changed", "{what} 有变化"),
    "why_missing": ("{what} is missing", "缺少 {what}"),
    "why_altered": ("{what} was altered", "{what} 被改动"),
    "why_after": ("{what} runs before it", "{what} 先运行"),
    "why_kept": ("nothing changed", "没有变化"),
    # next
    "a_text": ("where is my parcel?", "我的包裹到哪里了？"),
    "a_second_text": ("Your parcel arrives on Friday.", "您的包裹星期五送达。"),
    "next_predict": ("ask it", "向它提问"),
    "next_explain": ("see why it answers so", "看它为何这样回答"),
    "next_export": ("make it small and fast, for serving without PyTorch", "变小变快，服务时不需要 PyTorch"),
    "next_serve": ("answer over HTTP", "通过 HTTP 提供服务"),
    "next_report": ("the report, to open in a browser", "评测报告，可用浏览器打开"),
    "next_cd": ("go there", "进入目录"),
    "next_run": ("run the whole line: train, evaluate, export", "运行整条流水线：训练、评测、导出"),
    "next": ("What to type next", "接下来可以输入"),
    "made": ("made {path}", "已生成 {path}"),
    "next_change": ("change something: what would run again, and why", "改一处设置：哪些步骤会重跑、为什么"),
    "next_rows": (
        "the rows: put your own there, then `luban run` the folder",
        "数据：换成你自己的，再对该目录执行 `luban run`",
    ),
    # demo
    "demo_title": ("luban demo: from rows to an explained, served model", "luban demo：从数据到可解释、可服务的模型"),
    "demo_about": (
        "rows: {name} (written for luban) · everything goes to {out}/ · nothing leaves this machine",
        "数据：{name}（为 luban 编写）· 产物都在 {out}/ · 全程不联网",
    ),
    "demo_asking": ("Asking {count} questions over HTTP ({url})", "通过 HTTP 提 {count} 个问题（{url}）"),
    "demo_columns": (
        "answer · probability · latency · the words that mattered",
        "回答 · 概率 · 延迟 · 起作用的词",
    ),
    "demo_done": ("done in {seconds}; the project is in {out}/", "完成，用时 {seconds}；项目在 {out}/"),
    # models and doctor
    "model": ("model", "模型"),
    "size": ("size", "大小"),
    "languages": ("languages", "语言"),
    "licence": ("licence", "许可证"),
    "where": ("where", "位置"),
    "here": ("here", "本机已有"),
    "fetch": ("to be fetched", "需下载"),
    "models_title": ("Base models", "基础模型"),
    "models_more": ("Any local folder and any hub id work as --base, too.", "--base 也可用任何本地目录或 hub 模型名。"),
    "this_machine": ("This machine", "本机"),
    "processor": ("processor", "处理器"),
    "cores": ("{count:core}", "{count} 核"),
    "features": ("features", "指令集"),
    "memory_all": ("memory", "内存"),
    "free": ("{size} free", "空闲 {size}"),
    "bases": ("bases here", "本机模型"),
    "cache": ("cache", "缓存"),
    "reachable": ("reachable", "可访问"),
    "unreachable": ("not reachable", "无法访问"),
    "abilities": ("What is installed", "已安装的能力"),
    "missing": ("What is missing", "缺少的"),
    "nothing_missing": ("Nothing is missing.", "什么都不缺。"),
    # serve
    "serving": ("serving {names} on {url}", "正在服务 {names}：{url}"),
    "calibrated": (
        "{name}: calls at once {workers}, threads each {threads}, rows together {rows} (chosen in {seconds})",
        "{name}：同时调用 {workers} 个，每个 {threads} 线程，至多 {rows} 行一起（选定用时 {seconds}）",
    ),
    "stop": ("Ctrl-C stops it", "按 Ctrl-C 停止"),
}
