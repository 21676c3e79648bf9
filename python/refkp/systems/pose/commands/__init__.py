"""The commands of the pose system: `refkp pose VERB`, and `refkp train pose` beside them."""

from __future__ import annotations

#: Verb -> its file, which holds a function of the same name, and what it does. Nothing is imported to tell this.
VERBS: dict[str, tuple[str, str]] = {
    "generate": ("generate", "render training pictures of meshes, with poses, masks and depth"),
    "render-templates": ("render_templates", "render a mesh from all sides into a template store"),
    "infer": ("infer", "estimate the pose of an object in a photo"),
    "eval": ("evaluate", "score estimated poses by the rules of the BOP challenge"),
}
