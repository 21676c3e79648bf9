"""Frames of a video by number, each the one that a reader from the start would reach."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail
from refkp._extras import named_extras

with named_extras():
    import cv2

#: Frames ahead that are decoded one by one rather than jumped to.
_NEAR = 10

#: How far from the start a jump is compared with reading, once for each video: beyond the first group of pictures.
_JUMP_CHECKED_AT = 300


class Video:
    """A video file that gives frames by number, RGB; close it, or use it in a `with` block.

    Where jumping in the file does not reach the frame that reading reaches, as in some containers, all is read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, or one without a frame.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"Video: there is no file {self.path}.")
        self._open()
        first = self._read()
        if first is None:
            self._capture.release()
            fail("Video", str(self.path), "a video with frames", f"none in {self.path.stat().st_size} bytes")
        self.size = (first.shape[1], first.shape[0])  # (width, height)
        #: As the container says; frames behind the last that can be decoded are told when they are asked for.
        self.num_frames = max(1, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._last: tuple[int, NDArray[np.uint8]] = (0, first)
        self._jumps: bool | None = None  # not known yet

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Frame `number`, from 0 on: uint8 [H,W,3], RGB.

        Raises:
            ValueError: behind the last frame, or one that cannot be decoded.
        """
        if number < 0:
            fail("Video.frame", "number", "at least 0", number)
        if number == self._last[0]:
            return self._last[1]
        if not self._next <= number < self._next + _NEAR:
            self._go_near(number)
        picture = self._read_at(number)
        if picture is None:
            self._reopen()  # some containers read nothing any more behind their end
            rule = f"a frame that can be decoded of the {self.num_frames} of {self.path}"
            fail("Video.frame", "number", rule, number)
        self._last = (number, picture)
        return picture

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(str(self.path))
        self._next = 0  # number of the frame that is read next

    def _reopen(self) -> None:
        self._capture.release()
        self._open()

    def _go_near(self, number: int) -> None:
        """Be at `number` by a jump, or at or before it where jumps cannot be trusted."""
        if self._jumps is None:
            self._jumps = self._jump_is_exact()
        if self._jumps:
            self._jump(number)
        elif number < self._next:
            self._reopen()

    def _jump_is_exact(self) -> bool:
        target = min(_JUMP_CHECKED_AT, self.num_frames - 1)
        self._reopen()
        read = self._read_at(target)
        self._jump(target)
        return read is not None and _digest(read) == _digest(self._read())

    def _jump(self, number: int) -> None:
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        self._next = number

    def _read_at(self, number: int) -> NDArray[np.uint8] | None:
        while self._next < number:
            if not self._capture.grab():
                return None
            self._next += 1
        return self._read()

    def _read(self) -> NDArray[np.uint8] | None:
        there, picture = self._capture.read()
        self._next += 1
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8) if there else None


def _digest(picture: NDArray[np.uint8] | None) -> bytes:
    return b"" if picture is None else hashlib.sha256(picture.tobytes()).digest()
