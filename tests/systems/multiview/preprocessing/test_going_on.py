"""Interrupted work goes on and ends with the same arrays, whatever the number of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

from refkp.data.video import Video
from refkp.systems.multiview.preprocessing import blocks
from refkp.systems.multiview.preprocessing.running import Preprocessed, preprocess
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.reading import read_recording
from tests.systems.multiview.preprocessing.support import arrays_digest, small_session

SPEC = PreprocessSpec(size=48)

#: A run in a process of its own, in blocks of four samples, so that there is a middle to kill it in.
SCRIPT = """
import sys
from refkp.systems.multiview.preprocessing import blocks
from refkp.systems.multiview.preprocessing.running import preprocess
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.reading import read_recording

if __name__ == "__main__":
    blocks.CHUNK = 4
    recording = read_recording(sys.argv[1])
    print(preprocess([recording], sys.argv[2], PreprocessSpec(size=48), workers=int(sys.argv[3])).was_there)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("going_on") / "walk"
    small_session(place)
    return place


@pytest.fixture
def in_fours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK", 4)


def _run(folder: Path, out: Path, spec: PreprocessSpec = SPEC, **options: object) -> Preprocessed:
    return preprocess([read_recording(folder)], out, spec, **options)  # type: ignore[arg-type]


def _break_at(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make one frame impossible to decode; returns the numbers of those that were."""
    frame, decoded = Video.frame, []

    def breaking(self: Video, asked: int) -> object:
        if asked == number:
            raise ValueError("Video.frame: `number` must be a frame that can be decoded; got none.")
        decoded.append(asked)
        return frame(self, asked)

    monkeypatch.setattr(Video, "frame", breaking)
    return decoded


@pytest.mark.usefixtures("in_fours")
def test_what_is_finished_is_not_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(folder, tmp_path / "whole.h5")
    out, unfinished = tmp_path / "out.h5", tmp_path / "out.h5.unfinished"
    with monkeypatch.context() as patch:
        _break_at(13, patch)
        with pytest.raises(
            ValueError, match=r"got none\. What is finished stays in .*out\.h5\.unfinished; the same"
        ):
            _run(folder, out)
    assert not out.exists()
    assert len(list(unfinished.glob("block-*.h5"))) == 3
    with monkeypatch.context() as patch:
        decoded = _break_at(-1, patch)
        assert not _run(folder, out).was_there
    assert min(decoded) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "whole.h5"]
    assert arrays_digest(out) == arrays_digest(tmp_path / "whole.h5")
    before = out.stat()
    done = _run(folder, out)
    assert (done.was_there, done.num_samples, done.num_views) == (True, 20, {3: 20})
    assert out.stat() == before


@pytest.mark.usefixtures("in_fours")
def test_other_options_or_sessions_are_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.h5"
    with monkeypatch.context() as patch:
        _break_at(5, patch)
        with pytest.raises(ValueError):
            _run(folder, out)
    other = PreprocessSpec(size=40)
    with pytest.raises(ValueError, match=r"unfinished work on the same .*got other size\..*--fresh"):
        _run(folder, out, other)
    assert _run(folder, out, other, fresh=True).num_samples == 20
    with pytest.raises(
        ValueError, match=r"one of the same options and sessions; got one of others\..*--fresh"
    ):
        _run(folder, out)
    _run(folder, out, fresh=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "out.h5_1"]


@pytest.mark.slow
def test_processes_give_the_same_arrays(folder: Path, tmp_path: Path) -> None:
    """Two of them read half of the blocks each."""
    _run(folder, tmp_path / "one.h5", workers=1)
    _call(folder, tmp_path / "two.h5", workers=2).wait()
    assert arrays_digest(tmp_path / "one.h5") == arrays_digest(tmp_path / "two.h5")


def _call(folder: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), str(out), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_twice_it_ends_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    _run(folder, tmp_path / "whole.h5")
    out, unfinished = tmp_path / "out.h5", tmp_path / "out.h5.unfinished"
    for workers, num_blocks in ((1, 1), (2, 3)):
        process = _call(folder, out, workers)
        while process.poll() is None and len(list(unfinished.glob("block-*.h5"))) < num_blocks:
            time.sleep(0.002)
        children = _children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
        deadline = time.monotonic() + 30
        while any(map(_is_alive, children)):
            assert time.monotonic() < deadline, "a process stays behind"
            time.sleep(0.05)
    finished = {path: path.stat().st_mtime_ns for path in unfinished.glob("block-*.h5")}
    assert len(finished) >= 3
    last = _call(folder, out, 2)
    assert last.communicate()[0].strip() == "False"
    assert arrays_digest(out) == arrays_digest(tmp_path / "whole.h5")
    assert not unfinished.exists()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
