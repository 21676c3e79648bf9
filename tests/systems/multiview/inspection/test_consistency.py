"""Each fault of one view is named, and sessions without one raise nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.data.generator import MadeUpSession, make_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.inspection.consistency import inspect_consistency
from refkp.systems.multiview.inspection.evidence import gathered
from refkp.systems.multiview.inspection.findings import Finding
from tests.systems.multiview.sessions import FAULTS, seen, with_pairs

JOINTS = quadruped().joint_names

SPEC = SessionSpec(num_frames=90, with_videos=False)


def findings(session: MadeUpSession) -> list[Finding]:
    calibration = session.calibration
    evidence = gathered(seen(session.labels), calibration.rig, calibration.sizes)
    return inspect_consistency(evidence, calibration.names, JOINTS).findings


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("num_views", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_fault_is_named_and_nothing_else(fault: str, num_views: int) -> None:
    make, kind, words = FAULTS[fault]
    found = findings(make(make_session(dataclasses.replace(SPEC, num_views=num_views), seed=num_views)))
    assert [finding.kind for finding in found] == [kind], found
    assert words in f"{found[0].where} {found[0].measured}"


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_session_raises_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = dataclasses.replace(
        SPEC,
        num_views=2 + seed % 4,
        noise_px=float(rng.uniform(0.2, 2)),
        missing=float(rng.uniform(0, 0.3)),
        outliers=float(rng.uniform(0, 0.05)),
        k1=float(rng.uniform(-0.3, 0.1)),
    )
    assert findings(make_session(spec, seed)) == []


SIDES = [(name, name.replace("left", "right")) for name in JOINTS if name.endswith("left")]


@pytest.mark.parametrize(
    "pairs", [[("trunk", "tail_base"), ("neck", "hip_left")], SIDES], ids=["two", "sides"]
)
@pytest.mark.parametrize("num_views", [3, 4])
def test_pairs_that_are_exchanged_are_named_and_no_others(
    pairs: list[tuple[str, str]], num_views: int
) -> None:
    session = make_session(dataclasses.replace(SPEC, num_views=num_views), seed=2)
    found = findings(with_pairs(session, pairs))
    assert {finding.kind for finding in found} == {"joints exchanged"}
    told = {frozenset(finding.measured.split(" are ")[0].split(" and ")) for finding in found}
    assert told == {frozenset(pair) for pair in pairs}


def test_two_faults_are_both_named() -> None:
    session = make_session(dataclasses.replace(SPEC, num_views=5), seed=9)
    session = FAULTS["mirrored"][0](session)
    late = session.labels.copy()
    late[2:, 3], late[:2, 3] = session.labels[:-2, 3], np.nan
    found = findings(session._replace(labels=late))
    assert {(finding.kind, finding.where) for finding in found} == {
        ("mirrored view", "cam1"),
        ("stream out of step", "cam3"),
    }
