"""Made-up sessions for tests, and faults to put into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from refkp.geometry.rig import Rig
from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.data.generator import MadeUpSession
from refkp.systems.multiview.session import Observations

JOINTS = quadruped().joint_names

#: The view that is wrong.
WRONG = 1


def seen(labels: np.ndarray) -> Observations:
    """Labels [F,V,J,2] of consecutive frames as observations."""
    there = np.isfinite(labels).all(-1)
    return Observations(np.arange(len(labels)), labels, np.full(there.shape, np.nan), there.any(-1))


def with_camera(session: MadeUpSession, **parts: torch.Tensor) -> MadeUpSession:
    """The session with other parts of the wrong view's camera: K, distortion, R or t."""
    rig = session.calibration.rig
    changed = {name: getattr(rig, name).clone() for name in parts}
    for name, value in parts.items():
        changed[name][WRONG] = value
    return _with_rig(session, rig._replace(**changed))


def with_labels(session: MadeUpSession, labels: np.ndarray) -> MadeUpSession:
    """The session with other labels [F,J,2] of the wrong view."""
    changed = session.labels.copy()
    changed[:, WRONG] = labels
    return session._replace(labels=changed)


def _with_rig(session: MadeUpSession, rig: Rig) -> MadeUpSession:
    return session._replace(calibration=session.calibration._replace(rig=rig))


def _swapped(session: MadeUpSession) -> MadeUpSession:
    order = list(range(session.labels.shape[1]))
    order[0], order[WRONG] = order[WRONG], order[0]
    return _with_rig(session, session.calibration.rig.select(order))


def _shifted(session: MadeUpSession) -> MadeUpSession:
    return with_labels(session, session.labels[:, WRONG] + np.array([6.0, -8.0]))


def _late(frames: int) -> Callable[[MadeUpSession], MadeUpSession]:
    def changed(session: MadeUpSession) -> MadeUpSession:
        labels = np.full_like(session.labels[:, WRONG], np.nan)
        if frames > 0:
            labels[frames:] = session.labels[:-frames, WRONG]
        else:
            labels[:frames] = session.labels[-frames:, WRONG]
        return with_labels(session, labels)

    return changed


def _mirrored(axis: int) -> Callable[[MadeUpSession], MadeUpSession]:
    def changed(session: MadeUpSession) -> MadeUpSession:
        labels = session.labels[:, WRONG].copy()
        labels[..., axis] = float(session.calibration.sizes[WRONG, axis]) - labels[..., axis]
        return with_labels(session, labels)

    return changed


def _in_other_unit(session: MadeUpSession) -> MadeUpSession:
    return with_camera(session, t=10 * session.calibration.rig.t[WRONG])


def _lens(factor: float) -> Callable[[MadeUpSession], MadeUpSession]:
    return lambda session: with_camera(session, distortion=factor * session.calibration.rig.distortion[WRONG])


def _of_half_size(session: MadeUpSession) -> MadeUpSession:
    K = session.calibration.rig.K[WRONG].clone()
    K[:2] /= 2
    return with_camera(session, K=K)


def _in_other_order(session: MadeUpSession) -> MadeUpSession:
    order = np.random.default_rng(4).permutation(len(JOINTS))
    return with_labels(session, session.labels[:, WRONG, order])


def with_pairs(session: MadeUpSession, pairs: Sequence[tuple[str, str]]) -> MadeUpSession:
    """The session with pairs of joints exchanged in the wrong view."""
    order = list(range(len(JOINTS)))
    for first, second in pairs:
        a, b = JOINTS.index(first), JOINTS.index(second)
        order[a], order[b] = b, a
    return with_labels(session, session.labels[:, WRONG, order])


def _exchanged(session: MadeUpSession) -> MadeUpSession:
    return with_pairs(session, [("paw_front_left", "paw_front_right")])


def _reversed(session: MadeUpSession) -> MadeUpSession:
    return with_labels(session, session.labels[:, WRONG, ::-1])


def _inverted(session: MadeUpSession) -> MadeUpSession:
    R, t = session.calibration.rig.R[WRONG], session.calibration.rig.t[WRONG]
    return with_camera(session, R=R.mT, t=-(R.mT @ t))


#: Name of a fault -> what makes it, the kind of its finding, and words of what was measured.
FAULTS: dict[str, tuple[Callable[[MadeUpSession], MadeUpSession], str, str]] = {
    "camera swapped": (_swapped, "cameras swapped", "cam0 and cam1"),
    "camera shifted": (_shifted, "shifted camera", "cam1"),
    "a frame late": (_late(1), "stream out of step", "1 frame late"),
    "three frames early": (_late(-3), "stream out of step", "3 frames early"),
    "mirrored": (_mirrored(0), "mirrored view", "left and right"),
    "upside down": (_mirrored(1), "mirrored view", "top and bottom"),
    "other unit": (_in_other_unit, "wrong unit", "multiplied by 0.1"),
    "distortion of the other sign": (_lens(-1), "wrong distortion sign", "cam1"),
    "K of half the size": (_of_half_size, "K of another size", "2 times as large"),
    "nodes in another order": (_in_other_order, "nodes in another order", "cam1"),
    "nodes backwards": (_reversed, "nodes in another order", "cam1"),
    "left and right exchanged": (_exchanged, "joints exchanged", "paw_front_left and paw_front_right"),
    "pose of the camera": (_inverted, "inverted camera", "cam1"),
}
