"""Decoding: every mode becomes grey or RGB bytes, and every broken file a reason."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, encoded, files_of, pixels, prepared, write_tree
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_tools.reading.images import ImageError, decode, fit, pixels_sha256


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_what_pillow_logs_of_a_refused_file_is_not_printed(tmp_path: Path) -> None:
    whole = saved(Image.fromarray(pixels(1, channels=3)), "tiff")
    samples, many = (struct.pack("<HHIHH", 277, 3, 1, count, 0) for count in (3, 2048))
    assert samples in whole
    (tmp_path / "a.tiff").write_bytes(whole.replace(samples, many))
    code = "from pathlib import Path; from data_tools.reading.images import decode; decode(Path('a.tiff').read_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert "ImageError" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("More samples")]


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp", "ppm"])
def test_lossless_formats(kind: str) -> None:
    colour = pixels(1, channels=3)
    options = {"lossless": True} if kind == "webp" else {}
    np.testing.assert_array_equal(decode(encoded(colour, kind, **options)), colour)


def test_colour_file_without_colour_is_the_same_image_as_the_grey_one() -> None:
    grey = pixels(1)
    same = decode(encoded(np.repeat(grey[:, :, None], 3, axis=2)))
    assert pixels_sha256(same) == pixels_sha256(decode(encoded(grey, compress_level=0)))


def test_equal_bytes_in_another_shape_are_another_image() -> None:
    assert pixels_sha256(np.zeros((2, 8), np.uint8)) != pixels_sha256(np.zeros((4, 4), np.uint8))


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    out = decode(saved(image, "png", transparency=0))
    assert out[0, 0].tolist() == [200, 100, 50]
    assert (out[1:] == 255).all()


def test_transparency_in_grey_and_colour() -> None:
    for mode, colour in (("LA", (9, 0)), ("RGBA", (9, 8, 7, 0))):
        assert (decode(saved(Image.new(mode, (4, 4), colour), "png")) == 255).all()


def test_cmyk() -> None:
    out = decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpeg", quality=95))
    assert out.shape == (8, 8, 3)
    assert (out[:, :, 0] > 200).all()
    assert (out[:, :, 1:] < 60).all()


def test_sixteen_bits_keep_the_upper_half() -> None:
    wide = np.array([[0, 255, 256], [0x7FFF, 0xFF00, 0xFFFF]], np.uint16)
    np.testing.assert_array_equal(decode(encoded(wide)), [[0, 0, 1], [0x7F, 0xFF, 0xFF]])


def test_one_bit() -> None:
    assert np.unique(decode(saved(Image.new("1", (4, 4), 1), "png"))).tolist() == [255]


def test_floating_point_of_a_single_file_is_refused() -> None:
    with pytest.raises(ImageError, match="floating-point"):
        decode(saved(Image.new("F", (4, 4), 0.5), "tiff"))


def test_exif_rotation_is_applied() -> None:
    image = Image.new("L", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    assert decode(saved(image, "png", exif=exif)).shape == (8, 4)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    assert (decode(saved(frames[0], "gif", save_all=True, append_images=frames[1:])) == 10).all()


def bomb(side: int) -> bytes:
    """A PNG that claims to be enormous."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (encoded(pixels(1, 64), "jpeg")[:-300], "truncated"),
        (encoded(pixels(1, 64))[:-300], "truncated|damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not an image|damaged"),
        (bomb(8200), "too large"),
        (bomb(12_000), "too large"),
        (bomb(60_000), "too large"),
    ],
)
def test_broken_files(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


@given(st.data())
def test_any_damage_is_decoded_or_refused(data: st.DataObject) -> None:
    whole = bytearray(encoded(pixels(3), data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        out = decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        assert out.dtype == np.uint8
        assert out.ndim in (2, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (1, 1), (3, 500), (16, 4, 3)])
def test_fit(shape: tuple[int, ...], channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    out = fit(image, 8, channels)
    assert out.shape == (8, 8, channels)
    assert out.dtype == np.uint8
    if shape == (8, 8):
        assert (out == image[:, :, None]).all()


def test_truncated_jpeg_is_set_aside_and_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = files_of({"train": 3, "validation": 1, "test": 1})
    whole = encoded(pixels(1, 64), "jpeg")
    write_tree(root / "tiny", files | {"train/cat/cut.jpg": whole[:-300], "train/cat/none.jpg": b""})
    pack = prepared(configured(root, "tiny"))
    assert {row.path: row.reason for row in pack.where(status="set_aside")} == {
        "train/cat/cut.jpg": "truncated image file",
        "train/cat/none.jpg": "empty file",
    }
    assert len(pack.images) == len(files)
    out = capsys.readouterr().out
    assert "set_aside 2" in out
    assert "tiny:train/cat/cut.jpg: truncated image file" in out
