"""`refkp multiview make-body`: a body from a rigged mesh, a table of bones, a model file or the name of an animal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._checks import fail
from refkp.commands import parsed, parser, require_file

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.body.model import Body

_COMMAND = "refkp multiview make-body"
_EXAMPLE = f"{_COMMAND} mouse mouse.npz"
_SOURCE = (
    "rigged .glb or .gltf; .csv with the columns joint, parent and x,y,z or length; .npz, .pkl or .pickle of a SMIL or "
    "SMAL model; or a made-up animal: insect, mouse, quadruped"
)

_RIGS, _MODELS = (".glb", ".gltf"), (".npz", ".pkl", ".pickle")

#: The share of its length by which nodes may move a mesh that stands as it was bound.
_SAME_POSE = 1e-3


def make_body(argv: list[str]) -> int:
    """Write the body file of an animal: its mesh, the joints that move it, the ways in which its shape varies."""
    options = parsed(_parser(), argv)
    require_file(_COMMAND, "body", options.body)
    if options.body.suffix.lower() != ".npz":
        fail(_COMMAND, "body", "a name that ends in .npz", repr(options.body.name))
    body, remarks = _made(options.source, options.skin)

    from refkp.systems.multiview.body.files import write_body

    write_body(options.body, body)
    print("\n".join((*_tree(body), *remarks, f"{options.body}: {_told(body)}")))
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, make_body.__doc__, example=_EXAMPLE)
    command.add_argument("source", help=_SOURCE)
    command.add_argument("body", type=Path, metavar="OUT.npz", help="file to write")
    text = "name or number of the skin, of a file with several skeletons"
    command.add_argument("--skin", type=str, default=None, help=text)
    return command


def _made(source: str, skin: str | None) -> tuple[Body, list[str]]:
    """The body of a source, and what is to be said of it."""
    from refkp.systems.multiview.body.bone_table import read_skeleton
    from refkp.systems.multiview.body.skeleton import skeleton_body
    from refkp.systems.multiview.body.species import SPECIES, load_body

    path = Path(source)
    suffix = path.suffix.lower()
    if skin is not None and suffix not in _RIGS:
        fail(_COMMAND, "skin", "left out but for .glb and .gltf", repr(source))
    if source in SPECIES or suffix in _MODELS:
        return load_body(source), []
    if suffix != ".csv" and suffix not in _RIGS:
        kinds = f"a .glb, .gltf, .csv, .npz or .pkl file, or one of {', '.join(SPECIES)}"
        fail(_COMMAND, "source", kinds, repr(source))
    with _named(path):
        return _rigged(path, skin) if suffix in _RIGS else (skeleton_body(read_skeleton(path)), [])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What a body must be is told without its file."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def _rigged(path: Path, skin: str | None) -> tuple[Body, list[str]]:
    from refkp.data.mesh_files.gltf_skins import read_skin
    from refkp.systems.multiview.body.rig import moved_by_nodes, skinned_body

    skinned = read_skin(path, skin)
    remarks = [f"shapes: {', '.join(skinned.morphs)}"] if skinned.morphs else []
    remarks += [f"not in the body: {loss}" for loss in skinned.losses]
    moved = moved_by_nodes(skinned)
    if moved > _SAME_POSE:
        remarks.append(
            "the body rests as its mesh was bound; the nodes of the file stand in another pose, which moves "
            f"vertices by up to {moved:.1%} of its length"
        )
    return skinned_body(skinned), remarks


def _tree(body: Body, joint: int = 0, depth: int = 0) -> Iterator[str]:
    """The joints with the lengths of their bones, each below the one that it hangs on."""
    parent = body.parents[joint]
    bone = f"  {(body.rest_joints[joint] - body.rest_joints[parent]).norm():.4g}" if joint else ""
    yield f"{'  ' * depth}{body.joint_names[joint]}{bone}"
    for child, above in enumerate(body.parents):
        if above == joint:
            yield from _tree(body, child, depth + 1)


def _told(body: Body) -> str:
    sizes = f"{body.num_joints} joints, {len(body.vertices)} vertices, {len(body.faces)} faces"
    follow = "which its joints do not follow" if body.regressor is None else "which its joints follow"
    shapes = f"{body.num_betas} shapes, {follow}" if body.num_betas else "no shapes"
    return f"{sizes}, {shapes}; {body.length:.4g} long"
