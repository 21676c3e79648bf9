"""Bodies of made-up animals: an insect, a mouse, a quadruped. Lengths are about those of the body.

x points forward, y to the left, z up. Left joints stand in the tables, right ones are their mirror images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refkp._checks import require_choice
from refkp.systems.multiview.body.files import read_body
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.skeleton import Bone, Shape, skeleton_body


def species_body(name: str) -> Body:
    """The body of an animal of SPECIES.

    Raises:
        ValueError: no such animal.
    """
    require_choice("species_body", "name", name, tuple(SPECIES))
    return SPECIES[name]()


def load_body(source: str) -> Body:
    """The body of a species, or of a body file.

    Raises:
        FileNotFoundError: it is neither.
        ValueError: no body file, or a broken one.
    """
    return species_body(source) if source in SPECIES else read_body(source)


def insect() -> Body:
    """Six legs of a hip, a knee and a foot, head with antennae, abdomen of two parts: 24 joints, 4 shapes.

    Shapes: length of the legs, of the abdomen, of head and antennae, thickness.
    """
    bones = [
        Bone("thorax", "", (0.0, 0.0, 0.0)),
        Bone("head", "thorax", (0.24, 0.0, 0.03), 0.075, 40, 0.06),
        *_both("antenna", "head", (0.46, 0.12, 0.12), 0.006, 60, 0.014),
        Bone("abdomen", "thorax", (-0.2, 0.0, 0.0), 0.085, 35, 0.05),
        Bone("abdomen_tip", "abdomen", (-0.52, 0.0, -0.03), 0.035, 35, 0.1),
    ]
    for name, along, foot in (("front", 0.11, 0.42), ("middle", 0.0, 0.02), ("hind", -0.11, -0.4)):
        knee = along + 0.55 * (foot - along)
        bones += _both(f"hip_{name}", "thorax", (along, 0.07, -0.02), 0.026, 60, 0.03)
        bones += _both(f"knee_{name}", f"hip_{name}", (knee, 0.27, 0.08), 0.018, 60, 0.026)
        bones += _both(f"foot_{name}", f"knee_{name}", (foot, 0.42, -0.2), 0.008, 60, 0.018)
    names = [bone.joint for bone in bones]
    legs = [name for name in names if name.startswith(("knee", "foot"))]
    shapes = (
        Shape(dict.fromkeys(legs, 0.12), {}),
        Shape({"abdomen": 0.1, "abdomen_tip": 0.15}, {}),
        Shape(_all_of(names, ("head", "antenna"), 0.15), {}),
        Shape({}, dict.fromkeys(names, 0.15)),
    )
    return skeleton_body(bones, shapes)


def mouse() -> Body:
    """Trunk, neck, head, ears, nose, shoulders, haunches, tail: the 15 points that mice are labelled with, 3 shapes.

    Shapes: length of the trunk, of the tail, size of the head.
    """
    bones = [
        Bone("Trunk", "", (0.0, 0.0, 0.0)),
        Bone("Neck", "Trunk", (0.27, 0.0, 0.04), 0.105, 60, 0.15),
        Bone("Head", "Neck", (0.42, 0.0, 0.04), 0.085, 60, 0.105),
        Bone("Nose", "Head", (0.6, 0.0, -0.02), 0.025, 45, 0.085),
        *_both("Ear", "Head", (0.4, 0.1, 0.12), 0.045, 30, 0.02, sides=("_L", "_R")),
        *_both("Shoulder", "Neck", (0.2, 0.11, -0.04), 0.05, 45, 0.07),
        Bone("TTI", "Trunk", (-0.32, 0.0, 0.0), 0.09, 60, 0.155),
        *_both("Haunch", "Trunk", (-0.18, 0.14, -0.04), 0.065, 45, 0.1),
        Bone("Tail_0", "TTI", (-0.5, 0.0, -0.04), 0.028, 75, 0.04),
        Bone("Tail_1", "Tail_0", (-0.68, 0.0, -0.06), 0.022, 75, 0.028),
        Bone("Tail_2", "Tail_1", (-0.86, 0.0, -0.07), 0.016, 75, 0.022),
        Bone("TailTip", "Tail_2", (-1.04, 0.0, -0.07), 0.008, 75, 0.016),
    ]
    names = [bone.joint for bone in bones]
    shapes = (
        Shape({"Neck": 0.15, "TTI": 0.15, "Haunch_left": 0.15, "Haunch_right": 0.15}, {}),
        Shape(_all_of(names, ("Tail",), 0.2), {}),
        Shape(_all_of(names, ("Head", "Nose", "Ear"), 0.15), _all_of(names, ("Head", "Nose", "Ear"), 0.15)),
    )
    return skeleton_body(bones, shapes)


def quadruped() -> Body:
    """The walking animal of `refkp multiview generate`: 17 joints, 4 shapes.

    Shapes: length of the legs, of the trunk, of the tail, of the neck and the head.
    """
    bones = [
        Bone("trunk", "", (0.0, 0.0, 0.27)),
        Bone("neck", "trunk", (0.33, 0.0, 0.28), 0.085, 40, 0.12),
        Bone("head", "neck", (0.48, 0.0, 0.3), 0.075, 60, 0.08),
        Bone("nose", "head", (0.62, 0.0, 0.22), 0.03, 45, 0.065),
        *_both("ear", "head", (0.43, 0.09, 0.36), 0.015, 30, 0.03),
        *_both("shoulder", "neck", (0.25, 0.12, 0.2), 0.055, 60, 0.07),
        *_both("paw_front", "shoulder", (0.27, 0.15, 0.0), 0.025, 75, 0.05),
        Bone("tail_base", "trunk", (-0.38, 0.0, 0.2), 0.09, 40, 0.12),
        *_both("hip", "tail_base", (-0.28, 0.14, 0.2), 0.07, 60, 0.08),
        *_both("paw_hind", "hip", (-0.26, 0.17, 0.0), 0.025, 75, 0.06),
        Bone("tail_middle", "tail_base", (-0.6, 0.0, 0.17), 0.02, 75, 0.035),
        Bone("tail_tip", "tail_middle", (-0.85, 0.0, 0.12), 0.01, 75, 0.02),
    ]
    names = [bone.joint for bone in bones]
    shapes = (
        Shape(_all_of(names, ("paw",), 0.12), {}),
        Shape({"neck": 0.12, "tail_base": 0.12}, {}),
        Shape({"tail_middle": 0.2, "tail_tip": 0.2}, {}),
        Shape({"head": 0.12, "nose": 0.12}, {}),
    )
    return skeleton_body(bones, shapes)


#: Name -> its body.
SPECIES: dict[str, Callable[[], Body]] = {"insect": insect, "mouse": mouse, "quadruped": quadruped}


def _both(
    name: str,
    parent: str,
    place: tuple[float, float, float],
    radius: float,
    limit_deg: float,
    start_radius: float,
    sides: tuple[str, str] = ("_left", "_right"),
) -> list[Bone]:
    """A joint on the left and its mirror image; on the same side of a parent that has sides."""
    x, y, z = place
    sided = parent.startswith(("hip", "knee", "shoulder"))
    return [
        Bone(
            f"{name}{side}",
            f"{parent}{side}" if sided else parent,
            (x, sign * y, z),
            radius,
            limit_deg,
            start_radius,
        )
        for side, sign in zip(sides, (1, -1), strict=True)
    ]


def _all_of(names: Sequence[str], beginnings: tuple[str, ...], share: float) -> dict[str, float]:
    return {name: share for name in names if name.startswith(beginnings)}
