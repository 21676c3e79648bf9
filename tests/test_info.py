"""`refkp info` tells what runs here and why the rest does not."""

from __future__ import annotations

import json

import pytest
import torch

from refkp import info, machine
from refkp.ops import OPS
from refkp.ops._backends import BACKENDS


def test_json_and_text_tell_every_op_and_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"] == torch.__version__
    told = {(entry["op"], entry["backend"], entry["device"]) for entry in facts["backends"]}
    assert told == {(op, backend, device) for op in OPS for backend in BACKENDS for device in machine.DEVICES}
    assert all(entry["available"] != bool(entry["reason"]) for entry in facts["backends"])

    assert info.main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*OPS, "native/cpu: float32, float64", "train", "keypoints"))


def test_the_extension_is_built() -> None:
    """A broken build fails here with its reason; it is never skipped."""
    facts = machine.collect()
    assert facts["build_missing"] is None
    assert facts["build"]["isa"] in ("baseline", "avx2", "avx512")


def test_each_no_points_to_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("refkp._native.missing_reason", lambda: "it was not built")
    lines = info.text(machine.collect()).splitlines()
    assert "build      none: it was not built" in lines
    assert "[1] it was not built" in lines
    assert "[2] no CUDA device is visible" in lines
    assert any(line.split()[:5] == ["affine_warp", "no", "[1]", "no", "[2]"] for line in lines)


def test_a_gpu_is_asked_for_its_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("refkp._native.missing_reason", lambda: None)
    monkeypatch.setattr("refkp._native.has_cuda_kernels", lambda: True)
    entries = {(entry["backend"], entry["device"]): entry for entry in machine.backends()}
    assert entries["native", "cuda"]["dtypes"] == ["float32", "float16", "bfloat16"]
