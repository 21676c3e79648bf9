"""The commands of the multi-view system: `refkp multiview VERB`."""

from __future__ import annotations

#: Verb -> its file, which holds a function of the same name, and what it does. Nothing is imported to tell this.
VERBS: dict[str, tuple[str, str]] = {
    "generate": ("generate", "write a made-up session: videos, labels, cameras, points"),
    "inspect": ("inspect", "say what is wrong with a session, and what to do about it"),
    "preprocess": ("preprocess", "write sessions into the file of samples that training reads"),
    "migrate": ("migrate", "rewrite a file of samples of an older version"),
    "triangulate": ("triangulate", "points in space from the labels of all views"),
    "render": ("render", "write samples of a body in random poses, with everything known, to train on"),
    "infer": ("infer", "the poses that a trained run sees in synchronised videos"),
    "eval": ("evaluate", "judge a trained run beside baselines"),
    "make-body": ("make_body", "a body: from a rigged mesh, a table of bones, a model file, or a species"),
    "fit": ("fit", "a posed body from the labels of all views over time, without a network"),
    "calibrate": ("calibrate", "better cameras from the animal itself"),
}
