"""`luban.json` to README.md: the model card, for people and for the hub; it is never parsed."""

from __future__ import annotations

from luban.manifest import Manifest


def model_card(manifest: Manifest) -> str:
    """The model card of a manifest, as Markdown with the hub's front matter."""
    return f"# {manifest.name}\n"
