"""The OpenAPI document as one page for people: no script, no style sheet, no font from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
details{border:1px solid #ddd;border-radius:.4rem;margin:.6rem 0;padding:.5rem .8rem}
summary{cursor:pointer}code,pre{font:14px/1.4 ui-monospace,monospace}
pre{background:#f5f5f5;padding:.7rem;overflow:auto;border-radius:.3rem}
.verb{display:inline-block;min-width:3.2rem;font-weight:700}.post{color:#0a5c36}.get{color:#1a4f8b}
td{padding:.1rem .8rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}details{border-color:#444}
.post{color:#6fcf97}.get{color:#7fb2ee}a{color:#9cc4f5}}
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """One HTML page of an OpenAPI document."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            groups.setdefault(operation.get("tags", ["other"])[0], []).append(_operation(path, verb, operation))
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(items)}" for name, items in groups.items())
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<h1>{title}</h1><p>{escape(info.get('description', ''))} "
        f'The same as <a href="/openapi.json">OpenAPI</a>.</p>{body}<h2>Types</h2>{_types(document)}</body></html>'
    )


def _operation(path: str, verb: str, operation: Mapping[str, Any]) -> str:
    replies = "".join(
        f"<tr><td><code>{escape(code)}</code></td>"
        f"<td>{escape(reply.get('description', ''))} {_type_of(reply)}</td></tr>"
        for code, reply in sorted(operation.get("responses", {}).items())
    )
    return (
        f'<details><summary><span class="verb {verb}">{verb.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary>{_request(path, operation)}<table>{replies}</table></details>"
    )


def _request(path: str, operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return ""
    example = json.dumps(content.get("example", {}), ensure_ascii=False)
    command = f"curl -s http://127.0.0.1:8080{path} -d '{example}'"
    return f"<pre>{escape(command)}</pre><p>Body:</p><pre>{escape(json.dumps(content['schema'], indent=1))}</pre>"


def _type_of(reply: Mapping[str, Any]) -> str:
    reference = reply.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    name = escape(reference.rsplit("/", 1)[-1])
    return f'<a href="#{name}">{name}</a>' if name else ""


def _types(document: Mapping[str, Any]) -> str:
    return "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<pre>{escape(json.dumps(schema, indent=1))}</pre></details>"
        for name, schema in document.get("components", {}).get("schemas", {}).items()
    )
