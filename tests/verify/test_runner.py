"""The runner on made-up golden folders: every status, what reaches the adapter, the exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refkp.ops import _backends
from refkp.verify import command, registry, runner
from refkp.verify.command import main
from refkp.verify.gradients import leaf, projected_gradients, scalar_gradients
from refkp.verify.manifest import GoldenError
from refkp.verify.runner import Row, run

MakeGolden = Callable[..., Path]
Answer = Callable[..., None]


def double(params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None) -> dict[str, Any]:
    return {"y": params["factor"] * arrays["x"]}


def only(rows: list[Row]) -> Row:
    assert len(rows) == 1
    return rows[0]


def test_pass_names_the_worst_array(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    row = only(run(make_golden(x=([1.0, 2.0], "input"), y=([2.0, 4.1], "output", 0.0, 0.2))))
    assert (row.status, row.backend, row.reason) == ("pass", "-", "")
    assert row.worst is not None
    assert row.worst.array == "y"
    assert abs(row.worst.error - 0.1) < 1e-12
    assert row.worst.allowed == 0.2


def test_fail_gives_the_reason(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    row = only(run(make_golden(x=([1.0, 2.0], "input"), y=([2.0, 5.0], "output", 0.0, 0.2))))
    assert (row.status, row.reason) == ("fail", "1 of 2 elements of y are off by more than allowed")


def test_outputs_and_gradients_must_all_come_back(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    golden = make_golden(
        x=([1.0], "input"), y=([2.0], "output"), z=([1.0], "output"), grad_x=([2.0], "gradient")
    )
    row = only(run(golden))
    assert (row.status, row.reason, row.worst) == ("fail", "did not come back: z, grad_x", None)


def test_more_than_the_case_wants_may_come_back(make_golden: MakeGolden, answer: Answer) -> None:
    answer(lambda *arguments: double(*arguments) | {"extra": None})
    assert only(run(make_golden(x=([1.0], "input"), y=([2.0], "output")))).status == "pass"


def test_a_case_that_compares_nothing_does_not_pass(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    row = only(run(make_golden(x=([1.0], "input"))))
    assert (row.status, row.reason) == ("fail", "the case has no output to compare")


def test_wrong_shape_fails(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    row = only(run(make_golden(x=([[1.0]], "input"), y=([2.0], "output", 0.0, 1.0))))
    assert (row.status, row.reason) == ("fail", "y has shape [1, 1], not [1]")


@pytest.mark.parametrize(("where", "status"), [("m", "pass"), ("!m", "fail"), ("", "fail")])
def test_where_masks_select(make_golden: MakeGolden, answer: Answer, where: str, status: str) -> None:
    answer(double)
    golden = make_golden(
        x=([[1.0, 1.0], [2.0, 2.0]], "input"),
        y=([[2.0, 2.0], [0.0, 0.0]], "output", 0.0, 0.0, where),
        m=([True, False], "mask"),
    )
    assert only(run(golden)).status == status


def test_inputs_and_weights_are_fed_and_nothing_else(make_golden: MakeGolden, answer: Answer) -> None:
    seen: dict[str, Any] = {}
    answer(lambda params, arrays, backend: seen.update(arrays) or {"y": torch.zeros(1)})
    golden = make_golden(
        x=(np.array([1.0], np.float64), "input"),
        w=(np.array([1.0], np.float16), "weight"),
        n=(np.int64(3), "input"),
        text=(np.array(["a", "b"]), "input"),
        y=([0.0], "output"),
        m=([True], "mask"),
        r=([0.0], "reference"),
    )
    assert only(run(golden)).status == "pass"
    assert set(seen) == {"x", "w", "n", "text"}
    assert (seen["x"].dtype, seen["w"].dtype, seen["n"].shape) == (torch.float64, torch.float16, ())
    assert seen["text"].tolist() == ["a", "b"]


def test_values_may_be_tensors_arrays_lists_and_text(make_golden: MakeGolden, answer: Answer) -> None:
    answer(lambda *_: {"a": torch.ones(1, requires_grad=True), "b": [1, 2], "c": np.float32(3), "d": ["x"]})
    golden = make_golden(
        a=([1.0], "output"), b=([1, 2], "output"), c=(np.float32(3), "output"), d=(["x"], "output")
    )
    assert only(run(golden)).status == "pass"


def test_whatever_an_adapter_raises_is_an_error_of_its_case(make_golden: MakeGolden, answer: Answer) -> None:
    def raising(*_: Any) -> dict[str, Any]:
        raise KeyError("theta")

    answer(raising)
    row = only(run(make_golden(x=([1.0], "input"), y=([2.0], "output"))))
    assert (row.status, row.reason) == ("error", "the case has no 'theta'")


def test_a_case_that_lacks_something_says_what(make_golden: MakeGolden, answer: Answer) -> None:
    answer(lambda params, arrays, backend: {"y": arrays["x"] * params["slope"]})
    row = only(run(make_golden(x=([1.0], "input"), y=([2.0], "output"))))
    assert (row.status, row.reason) == ("error", "the case has no 'slope'")


def test_unknown_function_and_system_are_skipped_with_a_reason(make_golden: MakeGolden) -> None:
    row = only(run(make_golden(function="teleport", x=([1.0], "input"))))
    assert (row.status, row.reason) == ("skip", "refkp knows no golden function keypoints/teleport")
    row = only(run(make_golden(system="cooking", x=([1.0], "input")), system="cooking"))
    assert (row.status, row.reason) == (
        "skip",
        "refkp has no system 'cooking'; it has keypoints, multiview, pose, panorama",
    )


def test_known_function_without_adapter_is_skipped_with_its_reason(make_golden: MakeGolden) -> None:
    row = only(run(make_golden(function="grid_views", x=([1.0], "input"))))
    assert row.status == "skip"
    assert row.reason == "refkp.systems.keypoints does not offer it in this version"


class Backends:
    """Which backends exist, in place of the real ones: native has float64, triton has not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, triton: bool = True) -> None:
        def reason(backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
            if backend != "triton":
                return None
            if not triton:
                return "not here"
            return "float64 is not supported in Triton" if dtype == torch.float64 else None

        monkeypatch.setattr(runner, "unsupported_reason", reason)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_an_op_runs_on_every_backend(
    make_golden: MakeGolden, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Backends(monkeypatch)
    calls = []

    def adapter(
        params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
    ) -> dict[str, Any]:
        calls.append((backend, arrays["x"].dtype, arrays["n"].dtype))
        return {"y": arrays["x"] + 3e-5}

    answer(adapter, op="affine_warp")
    golden = make_golden(x=([1.0], "input"), n=([1], "input"), y=([1.0], "output", 0.0, 1e-9))
    rows = run(golden)
    assert calls == [
        ("reference", torch.float64, torch.int64),
        ("native", torch.float64, torch.int64),
        ("triton", torch.float32, torch.int64),
    ]
    assert [row.status for row in rows] == ["fail", "fail", "pass"]
    assert rows[2].reason == "float32 only: rtol 1e-04, atol 5e-05 max|want|"


def test_float32_cases_keep_their_tolerance_everywhere(
    make_golden: MakeGolden, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Backends(monkeypatch)
    answer(lambda params, arrays, backend: {"y": arrays["x"] + 3e-5}, op="affine_warp")
    golden = make_golden(
        x=(np.array([1.0], np.float32), "input"), y=(np.array([1.0], np.float32), "output", 0.0, 1e-6)
    )
    assert [row.status for row in run(golden)] == ["fail"] * 3


def test_unavailable_backend_is_skipped_unless_it_was_named(
    make_golden: MakeGolden, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Backends(monkeypatch, triton=False)
    answer(double, op="affine_warp")
    golden = make_golden(x=([1.0], "input"), y=([2.0], "output"))
    rows = run(golden)
    assert [(row.backend, row.status) for row in rows] == [
        ("reference", "pass"),
        ("native", "pass"),
        ("triton", "skip"),
    ]
    row = only(run(golden, backend="triton"))
    assert (row.status, row.reason) == ("error", "backend triton unavailable: not here")


def test_backend_names_are_those_of_the_ops() -> None:
    assert set(runner.BACKENDS) == set(_backends.BACKENDS)


def test_filters_select_and_say_what_there_is(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    make_golden(system="pose", function="other", x=([1.0], "input"))
    golden = make_golden(x=([1.0], "input"), y=([2.0], "output"))
    assert [row.system for row in run(golden)] == ["keypoints", "pose"]
    assert only(run(golden, system="pose")).function == "other"
    assert only(run(golden, function="made_up")).status == "pass"
    with pytest.raises(GoldenError, match="no case of system 'panorama'; it has keypoints, pose"):
        run(golden, system="panorama")
    with pytest.raises(GoldenError, match="no case of function 'third'; it has made_up, other"):
        run(golden, function="third")


def edit_manifest(golden: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = golden / "keypoints" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), "schema must be 1; got 2"),
        (lambda m: m.pop("cases"), "not a manifest of schema 1: missing or wrong 'cases'"),
        (lambda m: m["cases"][0].pop("function"), "missing or wrong 'function'"),
        (lambda m: m["cases"][0]["arrays"]["x"].update(role="extra"), "role of x must be one of"),
        (lambda m: m["cases"][0]["arrays"]["y"].pop("tolerance"), "y .output. needs a tolerance"),
        (
            lambda m: m["cases"][0]["arrays"]["y"]["tolerance"].update(atol=float("nan")),
            "tolerance of y must be two finite numbers, at least 0",
        ),
        (
            lambda m: m["cases"][0]["arrays"]["y"]["tolerance"].update(rtol="tight"),
            "tolerance of y must be two finite numbers, at least 0",
        ),
        (
            lambda m: m["cases"][0]["arrays"]["y"]["tolerance"].update(where="!m"),
            "`where` of y names '!m', which is no array",
        ),
    ],
)
def test_bad_manifests_are_explained(
    make_golden: MakeGolden, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    golden = make_golden(x=([1.0], "input"), y=([2.0], "output"))
    edit_manifest(golden, change)
    with pytest.raises(GoldenError, match=message):
        run(golden)


def test_bad_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="is not a folder"):
        run(tmp_path / "nowhere")
    with pytest.raises(GoldenError, match="holds no golden cases"):
        run(tmp_path)
    (tmp_path / "keypoints").mkdir()
    (tmp_path / "keypoints" / "manifest.json").write_text("{")
    with pytest.raises(GoldenError, match=r"manifest\.json cannot be read"):
        run(tmp_path)


def test_bad_array_files_are_errors_of_their_case(make_golden: MakeGolden, answer: Answer) -> None:
    answer(double)
    golden = make_golden(x=([1.0], "input"), y=([2.0], "output"))
    file = golden / "keypoints" / "case.npz"
    np.savez(file, x=np.array([1.0], np.float32), y=np.array([2.0], np.float64))
    assert "x is float32[1], but the manifest says float64[1]" in only(run(golden)).reason
    np.savez(file, x=np.array([1.0], np.float64))
    assert "an array of the manifest is missing" in only(run(golden)).reason
    file.write_bytes(file.read_bytes()[:50])
    assert "cannot be read" in only(run(golden)).reason
    file.unlink()
    row = only(run(golden))
    assert row.status == "error"
    assert "cannot be read" in row.reason


def test_exit_codes_and_table(
    make_golden: MakeGolden, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(double)
    golden = str(make_golden(x=([1.0], "input"), y=([2.0], "output")))
    assert main(["--golden", golden]) == 0
    printed = capsys.readouterr().out
    assert "pass  -           keypoints/case" in printed
    assert printed.endswith("backend  pass  fail  error  skip\nnone        1     0      0     0\n")
    golden = str(make_golden(x=([1.0], "input"), y=([3.0], "output")))
    assert main(["--golden", golden]) == 1
    assert "fail " in capsys.readouterr().out
    answer_error = make_golden(x=([[1.0]], "input"), y=([3.0], "output"))
    (answer_error / "keypoints" / "case.npz").unlink()
    assert main(["--golden", golden]) == 1
    assert "error" in capsys.readouterr().out
    assert main(["--golden", golden, "--system", "cooking"]) == 2
    assert "no case of system 'cooking'" in capsys.readouterr().err


def test_skipped_cases_do_not_fail(make_golden: MakeGolden, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--golden", str(make_golden(function="teleport", x=([1.0], "input")))]) == 0
    assert "skipped, refkp knows no golden function keypoints/teleport: teleport" in capsys.readouterr().out


def test_json_rows(make_golden: MakeGolden, answer: Answer, tmp_path: Path) -> None:
    answer(double)
    make_golden(system="pose", function="teleport", x=([1.0], "input"))
    golden = make_golden(x=([np.nan], "input"), y=([2.0], "output", 0.0, 0.5))
    path = tmp_path / "rows.json"
    assert main(["--golden", str(golden), "--json", str(path)]) == 1
    failed, skipped = json.loads(path.read_text())
    assert failed == {
        "id": "case",
        "system": "keypoints",
        "function": "made_up",
        "backend": "-",
        "status": "fail",
        "worst": {"array": "y", "error": None, "allowed": 0.5},
        "reason": "1 of 1 elements of y are off by more than allowed",
    }
    assert (skipped["status"], skipped["worst"]) == ("skip", None)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["rows.json"]


def test_json_into_a_missing_folder_is_refused_before_the_run(
    make_golden: MakeGolden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = make_golden(x=([1.0], "input"))
    assert main(["--golden", str(golden), "--json", str(tmp_path / "no" / "rows.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_triton_without_a_gpu_turns_its_interpreter_on(
    make_golden: MakeGolden, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(double)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    golden = str(make_golden(x=([1.0], "input"), y=([2.0], "output")))
    main(["--golden", golden, "--backend", "native"])
    assert "TRITON_INTERPRET" not in command.os.environ
    main(["--golden", golden, "--backend", "triton"])
    assert command.os.environ["TRITON_INTERPRET"] == "1"


def test_default_folder_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (command.default_golden() / "keypoints" / "manifest.json").is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "__file__", str(tmp_path / "site" / "refkp" / "verify" / "command.py"))
    with pytest.raises(GoldenError, match="name a folder with --golden"):
        command.default_golden()


def test_an_adapter_module_that_cannot_be_imported_is_an_error(
    make_golden: MakeGolden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "refkp.verify.multiview", None)
    row = only(run(make_golden(system="multiview", function="rotations", x=([1.0], "input"))))
    assert row.status == "error"
    assert "refkp.verify.multiview" in row.reason


def test_an_adapter_is_registered_once(answer: Answer) -> None:
    answer(double)
    with pytest.raises(ValueError, match="keypoints/made_up is registered twice"):
        registry.adapter("keypoints", "made_up")(double)


def test_projected_gradients() -> None:
    x = leaf(torch.tensor([1.0, 2.0]))
    y, z = x.square(), 3 * x
    gradients = projected_gradients([(y, torch.tensor([1.0, 10.0])), (z, torch.ones(2)), (z, None)], {"g": x})
    assert gradients["g"].tolist() == [2.0 + 3.0, 40.0 + 3.0]
    assert projected_gradients([(y, None)], {"g": x}) == {}
    assert scalar_gradients(y.sum(), {"g": x})["g"].tolist() == [2.0, 4.0]
