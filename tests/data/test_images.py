"""One decoder of pictures, masks and depth: every rule of its table, and errors that name the file and the remedy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `viz`")
from PIL import Image

from refkp.data import images
from refkp.data.images import (
    decode_cutout,
    decode_depth,
    decode_mask_picture,
    decode_rgb,
    encode_depth,
    encode_rgb,
    picture_size,
    read_rgb,
    rgb_of,
)

GENERATOR = np.random.default_rng(0)
RGB = GENERATOR.integers(0, 256, (12, 20, 3), dtype=np.uint8)
OBJECT = np.zeros((12, 20), dtype=bool)
OBJECT[3:9, 5:16] = True
UPRIGHT = torch.from_numpy(RGB).permute(2, 0, 1)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def of(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    return stored(Image.fromarray(pixels), kind, **options)


def wide_png(pixels: np.ndarray) -> bytes:
    """A PNG with 16 bits a colour, which Pillow reads but does not write."""
    cv2 = pytest.importorskip("cv2", reason="needs the extra `pose`")
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def wide_file(pixels: np.ndarray, ending: str) -> bytes:
    """The same with three or four channels, as PNG or TIFF."""
    cv2 = pytest.importorskip("cv2", reason="needs the extra `pose`")
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return cv2.imencode(ending, np.ascontiguousarray(pixels[..., order]))[1].tobytes()


def grey_alpha_png(grey: np.ndarray, alpha: np.ndarray) -> bytes:
    """A PNG of grey with alpha, 16 bits each, chunk by chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = np.stack((grey, alpha), -1).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, 4, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_a_picture_comes_back_interleaved(kind: str) -> None:
    pixels = decode_rgb(of(RGB, kind), "a picture")
    torch.testing.assert_close(pixels, UPRIGHT, rtol=0, atol=0)
    assert pixels.permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_the_same_grey(kind: str) -> None:
    grey = RGB[..., 0]
    want = torch.from_numpy(grey).expand(3, -1, -1)
    torch.testing.assert_close(decode_rgb(of(grey, kind), "grey"), want, rtol=0, atol=0)
    wide = decode_rgb(of(grey.astype(np.uint16) * 257, kind), "grey")
    torch.testing.assert_close(wide, want, rtol=0, atol=0)


def test_16_bits_are_divided_by_257() -> None:
    steps = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    got = decode_rgb(of(steps), "grey")[1]
    assert torch.equal(got, torch.from_numpy(np.rint(steps / 257).astype(np.uint8)))
    coloured = decode_rgb(wide_png(np.stack([steps] * 3, -1)), "colours")[1]
    assert torch.equal(coloured, got)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_colours_of_16_bits_keep_their_lower_bytes(ending: str, channels: int) -> None:
    values = GENERATOR.integers(0, 65536, (9, 14, channels)).astype(np.uint16)
    want = torch.from_numpy(np.rint(values[..., :3] / 257).astype(np.uint8)).permute(2, 0, 1)
    assert torch.equal(decode_rgb(wide_file(values, ending), "wide"), want)
    label = np.zeros((12, 20, channels), np.uint16)
    label[OBJECT, 2] = 7
    label[..., 3:] = 65535
    assert torch.equal(decode_mask_picture(wide_file(label, ending), "wide"), torch.from_numpy(OBJECT))


def test_grey_and_alpha_of_16_bits() -> None:
    grey, alpha = np.uint16(30000) + np.zeros((12, 20), np.uint16), OBJECT * np.uint16(65535)
    data = grey_alpha_png(grey, alpha)
    assert decode_rgb(data, "grey").unique().tolist() == [117]
    assert torch.equal(decode_mask_picture(data, "grey"), torch.from_numpy(OBJECT))


def test_a_large_picture_is_reduced_as_it_is_read() -> None:
    smooth = Image.fromarray(RGB).resize((640, 384), Image.Resampling.BICUBIC)
    want = np.array(smooth.resize((20, 12), Image.Resampling.BOX)).astype(int)
    for kind in ("PNG", "JPEG"):
        got = decode_rgb(stored(smooth, kind), "large", rows=12)
        assert got.shape == (3, 12, 20)
        assert np.abs(got.permute(1, 2, 0).numpy() - want).mean() < 12
    assert picture_size(stored(smooth), "large") == (384, 640)


def test_other_modes_become_rgb(recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(RGB)
    palette = image.quantize(16)
    assert torch.equal(decode_rgb(stored(palette), "palette"), rgb_of(palette.convert("RGB"), "palette"))
    cut = stored(palette, transparency=bytes(range(16)))
    assert torch.equal(decode_rgb(cut, "palette"), rgb_of(palette.convert("RGB"), "palette"))
    alpha = np.concatenate((RGB, np.full((12, 20, 1), 7, np.uint8)), -1)
    assert torch.equal(decode_rgb(of(alpha), "alpha is left out"), UPRIGHT)
    assert decode_rgb(stored(image.convert("CMYK"), "JPEG"), "CMYK").shape == (3, 12, 20)
    assert decode_rgb(stored(image.convert("1")), "one bit").unique().tolist() == [0, 255]
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_masks_and_depth_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
              5: lambda a: np.swapaxes(a, 0, 1), 6: lambda a: np.rot90(a, 1),
              7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1), 8: lambda a: np.rot90(a, -1)}[orientation]  # fmt: skip

    def of_turned(pixels: np.ndarray) -> bytes:
        return of(np.ascontiguousarray(turned(pixels)), exif=exif)

    assert torch.equal(decode_rgb(of_turned(RGB), "turned"), UPRIGHT)
    mask = decode_mask_picture(of_turned(OBJECT.astype(np.uint8)), "turned")
    assert torch.equal(mask, torch.from_numpy(OBJECT))
    depth = decode_depth(of_turned(OBJECT.astype(np.uint16) * 500), 0.1, "turned")
    assert torch.equal(depth, torch.from_numpy(OBJECT) * 50.0)


def masks() -> dict[str, bytes]:
    """The object in every way that files tell it."""
    zeros = np.zeros((12, 20), np.uint8)
    label = OBJECT.astype(np.uint8)
    palette = Image.fromarray(label, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    pale = Image.fromarray(label, "P")
    pale.putpalette([200, 200, 200, 9, 0, 0])
    return {
        "255": of(label * 255),
        "label 1": of(label),
        "16 bits, label 1": of(label.astype(np.uint16)),
        "one bit": of(OBJECT),
        "blue 3": of(np.stack((zeros, zeros, 3 * label), -1)),
        "palette": stored(palette),
        "float": of(label.astype(np.float32) / 4, "TIFF"),
        "alpha": of(np.stack((zeros + 200, zeros + 200, zeros + 200, 255 * label), -1)),
        "alpha of a picture": of(np.concatenate((RGB, 255 * label[..., None]), -1)),
        "grey and alpha": of(np.stack((zeros, 255 * label), -1)),
        "opaque alpha": of(np.stack((255 * label, zeros + 255), -1)),
        "JPEG": of(255 * label, "JPEG", quality=60),
        "lossy WebP": of(np.stack([255 * label] * 3, -1), "WEBP", quality=60),
        "lossless WebP": of(np.stack([label] * 3, -1), "WEBP", lossless=True),
        "palette without black": stored(pale),
        "16 bits, colours": wide_png(np.stack((zeros, zeros, 3 * label), -1).astype(np.uint16)),
    }


@pytest.mark.parametrize("name", masks())
def test_a_mask_is_what_is_drawn(name: str) -> None:
    assert torch.equal(decode_mask_picture(masks()[name], name), torch.from_numpy(OBJECT))


def test_masks_that_contradict_themselves_are_refused() -> None:
    alpha = np.full((12, 20), 255, np.uint8)
    alpha[:, 10:] = 0
    with pytest.raises(ValueError, match=r"`both\.png` must be a mask in colour or in alpha; .* differ"):
        decode_mask_picture(of(np.stack((OBJECT * np.uint8(255), alpha), -1)), "both.png")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_depth_is_scaled(kind: str) -> None:
    steps = GENERATOR.integers(0, 65536, (12, 20)).astype(np.uint16)
    depth = decode_depth(of(steps, kind), 0.1, "depth")
    assert depth.dtype == torch.float32
    assert torch.equal(depth, torch.from_numpy((steps * 0.1).astype(np.float32)))


def test_depth_of_floats() -> None:
    values = GENERATOR.random((12, 20), dtype=np.float32)
    depth = decode_depth(of(values, "TIFF"), 1000.0, "depth")
    torch.testing.assert_close(depth, 1000 * torch.from_numpy(values))
    values[0, :3] = -1
    with pytest.raises(ValueError, match=r"`d\.tif` must be not negative; got 3 pixels.*Write 0"):
        decode_depth(of(values, "TIFF"), 1000.0, "d.tif")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (of(RGB[..., 0]), r"`d\.png` must be one channel of 16 bits or floats, as depth is; got mode L"),
        (of(RGB), "got mode RGB"),
        (of(RGB[..., 0], "JPEG"), "got mode L"),
        (b"", r"d\.png cannot be decoded as a picture: .*Repair or remove the file, or fetch it again"),
    ],
)
def test_what_is_no_depth_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_depth(data, 1.0, "d.png")


def test_floats_are_a_picture_in_the_unit_range() -> None:
    grey = RGB[..., 0].astype(np.float32)
    assert torch.equal(decode_rgb(of(grey / 255, "TIFF"), "f.tif")[1], UPRIGHT[0])
    for wrong in (grey, grey / 255 - 0.1):
        with pytest.raises(ValueError, match=r"`f\.tif` must be in \[0,1\] where it holds floats.*Divide by"):
            decode_rgb(of(wrong, "TIFF"), "f.tif")
    with pytest.raises(ValueError, match=r"of 8 or 16 bits a channel; got mode I"):
        decode_rgb(of(RGB[..., 0].astype(np.int32) * 70000, "TIFF"), "i.tif")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 7])
def test_values_that_are_not_finite_are_counted_in_every_kind(bad: float, count: int) -> None:
    values = OBJECT.astype(np.float32)
    values.flat[[11 * number for number in range(count)]] = bad
    data = of(values, "TIFF")
    message = rf"`float\.tif` must be finite; got {count} of 240 pixels NaN or infinite\. "
    with pytest.raises(ValueError, match=message + "Write 0 outside of the object"):
        decode_mask_picture(data, "float.tif")
    with pytest.raises(ValueError, match=message + "Write 0 where it is unknown"):
        decode_depth(data, 1.0, "float.tif")
    with pytest.raises(ValueError, match=message + "Divide by what is white"):
        decode_rgb(data, "float.tif")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_file_is_an_error(kind: str) -> None:
    data = of(GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    with pytest.raises(ValueError, match=r"cut cannot be decoded as a picture"):
        decode_rgb(data[: len(data) // 2], "cut")


def test_a_picture_beyond_the_limit_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit does not count
    assert torch.equal(decode_rgb(of(RGB), "small.png"), UPRIGHT)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(images, "MAX_PIXELS", 239)
    with pytest.raises(ValueError, match=r"`large\.png` must be of at most 239 pixels; got 20 x 12\. Reduce"):
        decode_rgb(of(RGB), "large.png")


def test_read_rgb(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(of(RGB))
    assert torch.equal(read_rgb(tmp_path / "a.png"), UPRIGHT)
    with pytest.raises(ValueError, match=r"b\.png cannot be read: No such file.*name another"):
        read_rgb(tmp_path / "b.png")


def test_cutouts() -> None:
    alpha = np.where(OBJECT, 128, 127).astype(np.uint8)
    rgb, mask = decode_cutout(of(np.concatenate((RGB, alpha[..., None]), -1)), "cutout")
    assert torch.equal(rgb, UPRIGHT)
    assert torch.equal(mask, torch.from_numpy(OBJECT))
    with pytest.raises(ValueError, match=r"`plain\.png` must be RGBA with the mask in alpha; got mode RGB"):
        decode_cutout(of(RGB), "plain.png")


def test_what_is_encoded_comes_back() -> None:
    assert torch.equal(decode_rgb(encode_rgb(UPRIGHT, ".png"), "a.png"), UPRIGHT)
    flat = torch.full((3, 16, 16), 90, dtype=torch.uint8)
    assert (decode_rgb(encode_rgb(flat, ".jpg"), "a.jpg").int() - 90).abs().max() <= 1
    cutout = torch.cat((UPRIGHT, 255 * torch.from_numpy(OBJECT).byte()[None]))
    assert torch.equal(decode_mask_picture(encode_rgb(cutout, ".png"), "m.png"), torch.from_numpy(OBJECT))
    depth = torch.from_numpy(GENERATOR.integers(0, 65536, (12, 20)) * 0.1).float()
    torch.testing.assert_close(decode_depth(encode_depth(depth, 0.1), 0.1, "d.png"), depth, rtol=1e-6, atol=0)


def test_depth_that_does_not_fit_is_refused() -> None:
    for value, message in ((-1.0, "1 bad pixels"), (torch.inf, "Write 0"), (7000.0, "at most 6553.5 mm")):
        with pytest.raises(ValueError, match=message):
            encode_depth(torch.tensor([[value]]), 0.1)
