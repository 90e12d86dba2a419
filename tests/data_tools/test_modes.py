"""What files hold besides 8 bits of grey or RGB: 16 bits, floating point, transparency, palettes, damaged metadata."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, encoded, files_of, photograph, pixels, png, prepared, write_tree
from PIL import Image, ImageOps

from cnn.backends import get_ops
from cnn.training.pack import load_pack
from data_tools.reading.images import ImageError, decode, read_image
from data_tools.reading.value_range import range_up_to

SMALL = (11, 13)
GOOD = files_of({"train": 2, "validation": 1, "test": 1})
GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6  # colour types of PNG


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)


def png16(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits, written by hand: Pillow writes none but grey ones."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16(values: np.ndarray, big: bool) -> bytes:
    """An uncompressed TIFF of 16-bit colour, in either byte order."""
    order = ">" if big else "<"
    height, width = values.shape[:2]
    pixels_at = 8 + 2 + 9 * 12 + 4
    bits_at = pixels_at + values.size * 2
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, pixels_at), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, values.size * 2)]  # fmt: skip
    parts = [(b"MM" if big else b"II") + struct.pack(order + "HI", 42, 8), struct.pack(order + "H", len(tags))]
    for tag, kind, count, value in tags:
        packed = struct.pack(order + "HH", value, 0) if kind == 3 and count == 1 else struct.pack(order + "I", value)
        parts.append(struct.pack(order + "HHI", tag, kind, count) + packed)
    parts += [b"\0\0\0\0", values.astype(order + "u2").tobytes(), struct.pack(order + "HHH", 16, 16, 16)]
    return b"".join(parts)


def numbers(highest: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random values from 0 to `highest`, both of which occur in each channel."""
    values = np.random.default_rng(seed).integers(0, highest + 1, shape)
    values[0, 0], values[0, 1] = 0, highest
    return values.astype(np.uint16)


def kept_pixels(root: Path, files: dict[str, bytes], channels: int = 1, size: int = 8) -> dict[str, np.ndarray]:
    """The packed pixels of `files`, which are added to a data set, by path; the test fails if one is set aside."""
    write_tree(root / "tiny", GOOD | files)
    pack = prepared(configured(root, "tiny", data={"channels": channels, "image_size": size}, duplicates="none"))
    return {path: pack.images[pack.by_id[f"tiny:{path}"].pack_row] for path in files}


# --- 16 bits ----------------------------------------------------------------------------------------------------------


def wide_files(values: np.ndarray) -> dict[str, bytes]:
    """One file of every kind with these 16-bit values (8, 8, 3); grey ones have the first channel."""
    opaque = np.full((8, 8, 1), 0xFFFF, np.uint16)
    return {
        "grey.png": png16(values[:, :, 0], GREY),
        "grey.tif": encoded(values[:, :, 0].copy(), "tiff"),
        "grey_opaque.png": png16(np.concatenate([values[:, :, :1], opaque], axis=2), GREY_ALPHA),
        "colour.png": png16(values, COLOUR),
        "colour_opaque.png": png16(np.concatenate([values, opaque], axis=2), COLOUR_ALPHA),
        "colour_big.tif": tiff16(values, big=True),
        "colour_little.tif": tiff16(values, big=False),
    }


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12, 14, 16])
def test_the_range_of_a_source_is_that_of_its_largest_value(root: Path, bits: int) -> None:
    bright = numbers(2**bits - 1, 8, 8, 3)
    images = {"bright": bright, "dark": bright // 3}
    files = {f"train/cat/{name}_{kind}": data for name in images for kind, data in wide_files(images[name]).items()}
    found = kept_pixels(root, files, channels=3)
    used = {9: 10, 11: 12}.get(bits, bits)
    for path, image in found.items():
        values = images["bright" if "bright" in path else "dark"]
        # The upper 8 of the bits in use: an image a third as bright stays so.
        assert (image == (values[:, :, :1] if "grey" in path else values) // 2 ** (used - 8)).all()


def test_sources_have_ranges_of_their_own(root: Path) -> None:
    for name, highest in (("a", 1000), ("b", 60_000)):
        write_tree(root / name, GOOD | {f"train/cat/{name}.png": encoded(numbers(highest, 8, 8))})
    pack = prepared(configured(root, "a", "b", duplicates="none"))
    for name, shift in (("a", 2), ("b", 8)):
        row = pack.by_id[f"{name}:train/cat/{name}.png"]
        expected = numbers(1000 if name == "a" else 60_000, 8, 8) >> shift
        assert (pack.images[row.pack_row, :, :, 0] == expected).all()
        assert f"taken as {8 + shift} bits" in row.mode


def test_equal_files_are_duplicates_whatever_the_ranges_of_their_sources(root: Path) -> None:
    same = encoded(numbers(1000, 8, 8))
    write_tree(root / "a", GOOD | {"train/cat/same.png": same})
    write_tree(root / "b", {"test/cat/same.png": same, "test/cat/bright.png": encoded(numbers(60_000, 8, 8, seed=1))})
    pack = prepared(configured(root, "a", "b", duplicates="pixels"))
    assert pack.by_id["a:train/cat/same.png"].duplicate_of == "b:test/cat/same.png"


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_8_bit_values_in_16_bits_are_duplicates_of_the_8_bit_file(root: Path, factor: int) -> None:
    grey = pixels(77)
    write_tree(root / "tiny", GOOD | {"train/cat/x.png": encoded(grey),
                                      "test/cat/x.png": encoded(grey.astype(np.uint16) * factor)})  # fmt: skip
    pack = prepared(configured(root, "tiny", duplicates="pixels"))
    assert pack.by_id["tiny:train/cat/x.png"].status == "duplicate"


def test_resampled_16_bits_keep_their_range(root: Path) -> None:
    image = photograph(5, 64).astype(np.uint16) * 16  # 12 bits
    found = kept_pixels(root, {"train/cat/x.png": encoded(image)}, size=16)
    small = Image.fromarray(photograph(5, 64)).resize((16, 16), Image.Resampling.LANCZOS)
    assert abs(found["train/cat/x.png"][:, :, 0].astype(int) - np.asarray(small)).max() <= 1


def test_translucent_16_bits_keep_the_upper_byte() -> None:
    values = numbers(0xFFFF, *SMALL, 4)
    values[:, :, 3] = 0xFFFF
    values[2, 2, 3] = 0
    found = read_image(png16(values, COLOUR_ALPHA))
    assert "upper byte of 16 bits" in found.mode
    expected = values[:, :, :3] >> 8
    expected[2, 2] = 255
    assert (found.values == expected).all()


def test_an_interrupted_run_decides_the_range_from_all_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"train/cat/w{n}.png": encoded(numbers(highest, 8, 8)) for n, highest in enumerate((4000, 900, 70))}
    write_tree(root / "tiny", GOOD | files)
    config = configured(root, "tiny", duplicates="none")
    monkeypatch.setattr("data_tools.reading.decoded.PART_IMAGES", 2)
    with monkeypatch.context() as patched:
        patched.setattr("data_tools.preparation.find_groups", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepared(config)
    assert list((root.parent / "packs").glob(".decoded-*/complete.json"))
    pack = prepared(config)
    for n, highest in enumerate((4000, 900, 70)):
        row = pack.by_id[f"tiny:train/cat/w{n}.png"]
        assert (pack.images[row.pack_row, :, :, 0] == numbers(highest, 8, 8) >> 4).all()


# --- floating point ---------------------------------------------------------------------------------------------------


def tiff(values: np.ndarray) -> bytes:
    return encoded(values.astype(np.float32), "tiff")


@pytest.mark.parametrize(
    ("highest", "whole", "expected"),
    [
        (1.0, False, lambda values: np.rint(values * 255)),
        (0.4, False, lambda values: np.rint(values * 255)),
        (255.0, True, lambda values: values),
        (255.0, False, np.rint),
        (4095.0, True, lambda values: np.rint(values * (255 / 4095))),
        (65535.0, True, lambda values: np.rint(values / 257)),
    ],
)
def test_floating_point_of_a_clear_range(root: Path, highest: float, whole: bool, expected: object) -> None:
    values = (np.random.default_rng(1).random((8, 8)) * highest).astype(np.float32)
    values[0, 0] = highest
    values = np.rint(values) if whole else values
    found = kept_pixels(
        root, {"train/cat/x.tif": tiff(values), "train/cat/y.tif": tiff(values // 2 if whole else values)}
    )
    assert (found["train/cat/x.tif"][:, :, 0] == expected(values)).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[0.5, 1.7]], "range of the source is not clear"),
        ([[3.5, 900.25]], "range of the source is not clear"),
        ([[-1.0, 1.0]], "below 0"),
        ([[np.nan, 1.0]], "not numbers"),
        ([[np.inf, 1.0]], "not numbers"),
    ],
)
def test_floating_point_of_no_clear_range_is_set_aside(root: Path, values: list, reason: str) -> None:
    write_tree(root / "tiny", GOOD | {"train/cat/x.tif": tiff(np.array(values))})
    pack = prepared(configured(root, "tiny"))
    assert reason in pack.by_id["tiny:train/cat/x.tif"].reason
    assert len(pack.images) == len(GOOD)


def test_one_image_beyond_the_range_of_the_others_is_set_aside_alone(root: Path) -> None:
    rng = np.random.default_rng(2)
    files = {f"train/cat/f{n}.tif": tiff(rng.random((8, 8))) for n in range(4)}
    write_tree(root / "tiny", GOOD | files | {"train/cat/far.tif": tiff(rng.random((8, 8)) * 1.5 + 0.1)})
    pack = prepared(configured(root, "tiny"))
    assert [row.path for row in pack.where(status="set_aside")] == ["train/cat/far.tif"]
    assert "end at 1" in pack.by_id["tiny:train/cat/far.tif"].reason


# --- transparency -----------------------------------------------------------------------------------------------------


def drawing(colour: tuple[int, ...], mode: str = "RGBA", side: int = 16) -> Image.Image:
    """A square of one colour, a quarter of it, on transparency."""
    image = Image.new(mode, (side, side), (*[0] * (len(mode) - 1), 0))
    image.paste((*colour, 255), (4, 4, 12, 12))
    return image


@pytest.mark.parametrize(
    ("colour", "background"),
    [
        ((255, 255, 255), 0),
        ((250, 250, 250), 0),
        ((255, 255, 200), 0),
        ((0, 0, 0), 255),
        ((200, 30, 30), 255),
        ((128, 128, 128), 255),
        ((255, 210, 0), 255),
    ],
)
def test_a_drawing_stays_visible(colour: tuple[int, ...], background: int) -> None:
    image = drawing(colour)
    for file in (
        saved(image, "png"),
        saved(image, "webp", lossless=True),
        saved(image, "tiff"),
        saved(image.quantize(), "png"),
    ):
        values = read_image(file).values
        layers = values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)
        assert (layers[0, 0] == background).all()
        assert (layers[8, 8] == colour).all()


@pytest.mark.parametrize(("grey", "background"), [(255, 0), (0, 255)])
def test_a_grey_drawing_stays_visible(grey: int, background: int) -> None:
    values = read_image(saved(drawing((grey,), "LA"), "png")).values
    assert (values[0, 0], values[8, 8]) == (background, grey)


def test_nothing_drawn_is_white_and_opaque_is_as_it_is() -> None:
    assert (decode(saved(Image.new("RGBA", (8, 8), (255, 255, 255, 0)), "png")) == 255).all()
    light = np.full((8, 8, 4), 255, np.uint8)
    light[2:4, 2:4, :3] = 250
    found = read_image(encoded(light))
    assert (found.values == light[:, :, 0]).all()
    assert "none of it transparent" in found.mode


# --- other modes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        (Image.fromarray(pixels(1)), "png", "grey, 8 bits"),
        (Image.fromarray(pixels(1, channels=3)), "png", "colour, 8 bits"),
        (Image.fromarray(np.repeat(pixels(1)[:, :, None], 3, axis=2)), "png", "colour file without colour"),
        (Image.fromarray(pixels(1) > 100), "png", "black and white, 1 bit"),
        (Image.fromarray(pixels(1, channels=3)).quantize(16), "png", "palette"),
        (Image.fromarray(pixels(1, channels=3)).convert("CMYK"), "jpeg", "CMYK: converted to RGB"),
        (Image.fromarray(pixels(1, channels=3)).convert("CMYK"), "tiff", "CMYK: converted to RGB"),
        (Image.fromarray(pixels(1, channels=3)).convert("YCbCr"), "tiff", "converted to RGB"),
        (Image.new("LAB", (8, 8), (128, 128, 128)), "tiff", "LAB: converted to RGB"),
    ],
)
def test_modes_are_named(image: Image.Image, kind: str, said: str) -> None:
    found = read_image(saved(image, kind))
    assert said in found.mode
    assert found.values.dtype == np.uint8


def test_lab_keeps_its_colour() -> None:
    middle = read_image(saved(Image.new("LAB", (8, 8), (128, 128, 128)), "tiff")).values
    assert abs(middle.astype(int) - 119).max() <= 3  # L* 50 is grey 119 of sRGB


def test_the_audit_counts_the_modes(root: Path) -> None:
    files = {
        "train/cat/w1.png": saved(drawing((255, 255, 255)), "png"),
        "train/cat/w2.png": encoded(numbers(4000, 8, 8)),
        "train/dog/k.png": saved(drawing((0, 0, 0)), "png"),
    }
    write_tree(root / "tiny", GOOD | files)
    pack = prepared(configured(root, "tiny"))
    modes = {(mode["holds"], mode["decision"]): mode["images"] for mode in pack.json_beside("audit.json")["modes"]}
    assert modes["grey, 8 bits", ""] == len(GOOD)
    assert modes["grey, 16 bits", "values up to 4,000, taken as 12 bits"] == 1
    assert modes["colour with transparency", "on black, because on white the drawing is not visible"] == 1
    assert modes["colour with transparency", "on white"] == 1


# --- damaged metadata -------------------------------------------------------------------------------------------------

WHOLE = pixels(9, 16, channels=3)
_PNG, _JPEG = encoded(WHOLE), encoded(WHOLE, "jpeg", quality=95)
_TURN = Image.Exif()
_TURN[0x0112] = 6


def png_with(name: bytes, body: bytes, wrong: int = 0, behind: bool = False) -> bytes:
    at = len(_PNG) - 12 if behind else 33
    return _PNG[:at] + chunk(name, body, wrong) + _PNG[at:]


def jpeg_with(marker: int, body: bytes) -> bytes:
    return _JPEG[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + _JPEG[2:]


DAMAGED = {
    **{f"PNG {name.decode()} {kind}": png_with(name, body, wrong, behind)
       for name, body in ((b"tEXt", b"a\0b"), (b"iCCP", b"x\0\0no profile"), (b"pHYs", b"12"), (b"gAMA", b""),
                          (b"cHRM", b"1"), (b"eXIf", b"zz"), (b"sRGB", b""), (b"tIME", b""), (b"iTXt", b"a\0\1\0\0\0x"),
                          (b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000))))
       for kind, wrong, behind in (("short", 0, False), ("of a wrong checksum", 1, False), ("behind", 1, True))},
    "JPEG JFIF": jpeg_with(0xE0, b"JFIF"),
    "JPEG Adobe": jpeg_with(0xEE, b"Adobe"),
    "JPEG EXIF": jpeg_with(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "JPEG pages": jpeg_with(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "JPEG profile": jpeg_with(0xE2, b"ICC_PROFILE\0\1\2x"),
    "JPEG Photoshop": jpeg_with(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff\xff"),
    "PNG EXIF that is noise": saved(Image.fromarray(WHOLE), "png", exif=b"Exif\0\0" + bytes(range(99))),
    "WebP EXIF that is noise": saved(Image.fromarray(WHOLE), "webp", lossless=True, exif=b"Exif\0\0garbage"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_metadata_does_not_cost_the_pixels(kind: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(_JPEG))) if kind.startswith("JPEG") else WHOLE
    assert (decode(DAMAGED[kind]) == expected).all()


def test_the_rotation_survives_other_damage() -> None:
    image = Image.fromarray(WHOLE[:10])
    png = saved(image, "png", exif=_TURN)
    jpeg = saved(image, "jpeg", exif=_TURN, quality=95)
    for whole, damaged in (
        (png, png[:33] + chunk(b"pHYs", b"12") + png[33:]),
        (jpeg, jpeg[:2] + b"\xff\xe0\0\x06JFIF" + jpeg[2:]),
    ):
        assert decode(damaged).shape == (16, 10, 3)
        assert (decode(damaged) == decode(whole)).all()
        assert "damaged metadata left out" in read_image(damaged).mode


@pytest.mark.parametrize("orientation", range(10))
def test_every_rotation_is_that_of_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(WHOLE[:10])
    for kind in ("png", "tiff"):
        file = saved(image, kind, exif=exif)
        assert (decode(file) == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))).all()


@pytest.mark.parametrize(
    "file",
    [
        _PNG.replace(b"IDAT", b"IDAT\xff", 1),
        png_with(b"tEXt", b"a\0b", 1)[:-40],
        jpeg_with(0xE0, b"JFIF")[:-200],
        png_with(b"pHYs", b"12").replace(_PNG[41:45], b"xxxx", 1),
    ],
)
def test_damaged_pixels_are_not_excused(file: bytes) -> None:
    with pytest.raises(ImageError):
        decode(file)


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [encoded(numbers(4000, 8, 8)), tiff(np.random.default_rng(3).random((8, 8)))])
def test_prediction_reads_a_file_as_training_did(root: Path, file: bytes) -> None:
    write_tree(root / "tiny", GOOD | {"train/cat/x.png": file})
    pack = prepared(configured(root, "tiny"))
    row = pack.by_id["tiny:train/cat/x.png"]
    top = load_pack(pack.folder, get_ops("numpy")).value_top
    assert (decode(file, range_up_to(top)) == pack.images[row.pack_row, :, :, 0]).all()
    assert (decode(png(3), range_up_to(top)) == pixels(3)).all()
