"""The image door: pictures of every kind come in as RGB, and what is no sound picture is refused in plain words."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detr_mini.data import read_image
from detr_mini.data.image import FORMATS, ImageError, image_to_tensor

RED = (220, 30, 40)
NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def read(folder: Path, data: bytes) -> torch.Tensor:
    """What `read_image` makes of a file."""
    path = folder / "x.bin"
    path.write_bytes(data)
    return read_image(path)


def refusal(folder: Path, data: bytes) -> str:
    """What `read_image` says of a file, after its name."""
    with pytest.raises(ValueError, match=r"cannot read the picture .*x\.bin: ") as raised:
        read(folder, data)
    return str(raised.value).split("x.bin: ")[1]


def as_array(image: torch.Tensor) -> np.ndarray:
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("JPEG", "AVIF")])
def test_every_format_gives_its_pixels(tmp_path: Path, form: str) -> None:
    pixels = NOISE // 128 * 255 if form == "GIF" else NOISE  # within a palette
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(as_array(read(tmp_path, encoded(Image.fromarray(pixels), form, **options))), pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_gives_the_pixels_that_pillow_gives(
    tmp_path: Path, mode: str, subsampling: int, progressive: bool
) -> None:
    picture = Image.fromarray(np.kron(NOISE, np.ones((3, 3, 1), dtype=np.uint8))).convert(mode)
    data = encoded(picture, "JPEG", subsampling=subsampling, progressive=progressive)
    with Image.open(io.BytesIO(data)) as file:
        assert file.mode == mode
        assert np.array_equal(as_array(read(tmp_path, data)), np.array(file.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    data = encoded(Image.new("RGB", (12, 8), "white").convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    image = read(tmp_path, data)
    assert image.shape == (3, 8, 12)
    assert image.min() == 255


def test_palette_with_transparency_becomes_rgb(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, *RED])
    image = read(tmp_path, encoded(picture, "PNG", transparency=bytes([0, 128])))
    assert tuple(image[:, 2, 2].tolist()) == RED


def test_transparent_pixels_have_the_color_stored_beneath(tmp_path: Path) -> None:
    image = read(tmp_path, encoded(Image.new("RGBA", (4, 4), (*RED, 0)), "PNG"))
    assert tuple(image[:, 2, 2].tolist()) == RED


def test_premultiplied_colors_become_rgb() -> None:
    picture = Image.fromarray(NOISE).convert("RGBA").convert("RGBa")
    assert np.array_equal(as_array(image_to_tensor(picture)), NOISE)


GREYS = np.array([[0, 128, 129, 256, 257], [30_000, 32_767, 32_768, 65_406, 65_407], [65_535] * 5], dtype=np.uint16)
AS_BYTES = np.round(GREYS / 257).astype(np.uint8)


@pytest.mark.parametrize(("mode", "form"), [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF"), ("I", "PPM")])
def test_16_bit_gray_becomes_8_bit_gray(tmp_path: Path, mode: str, form: str) -> None:
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    picture = Image.frombytes(mode, (5, 3), GREYS.astype(dtype).tobytes())
    data = encoded(picture, form)
    with Image.open(io.BytesIO(data)) as file:
        assert file.mode == mode
    assert np.array_equal(as_array(read(tmp_path, data)), AS_BYTES[..., None].repeat(3, axis=2))
    if mode != "I":
        assert np.array_equal(as_array(image_to_tensor(picture))[..., 0], AS_BYTES)


@pytest.mark.parametrize(("mode", "words"), [("I", "32-bit integers"), ("F", "floats")])
def test_values_without_a_range_are_refused(tmp_path: Path, mode: str, words: str) -> None:
    picture = Image.new("L", (4, 4), 7).convert(mode)
    assert f"its values are {words}" in refusal(tmp_path, encoded(picture, "TIFF"))
    with pytest.raises(ImageError, match=rf"a PIL image, {mode}, 4 x 4: its values are {words}.*8 or 16 bits"):
        image_to_tensor(picture)


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP", "MPO"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, "blue", "green")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as file:
        assert file.n_frames == 3  # type: ignore[attr-defined]
    image = read(tmp_path, data).int()
    assert (image - torch.tensor(RED).view(3, 1, 1)).abs().max() < 5


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, form: str, orientation: int) -> None:
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :16] = 255  # the top left corner: no two orientations agree
    upright[16:, :16] = 128
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read(tmp_path, encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif))
    assert np.abs(as_array(image).astype(int) - upright).max() < 60


def test_a_damaged_profile_does_not_refuse_the_picture_and_warns_of_nothing(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(NOISE), "TIFF")
    data = data.replace(b"\x1c\x01\x03\x00\x01", b"\x1c\x01\x03\x00\xff")  # the tag of the planar configuration
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        assert read(tmp_path, data).shape == (3, 9, 13)
        assert warnings.filters == filters


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "folder"])
def test_a_damaged_picture_is_one_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.jpg"
    data = encoded(Image.fromarray(NOISE), "JPEG")
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "truncated": data[: len(data) - 40], "text": b"no picture"}[damage])
    words = {
        "missing": "No such file",
        "empty": r"the file is empty \(0 bytes\)",
        "truncated": "it ends before the picture is complete",
        "text": r"it is no picture, .*\(JPEG, PNG, WEBP",
        "folder": "Is a directory",
    }[damage]
    with pytest.raises(ValueError, match=rf"cannot read the picture .*x\.jpg: {words}"):
        read_image(path)


def test_a_file_of_another_kind_is_refused_and_never_run(tmp_path: Path) -> None:
    for form in ("EPS", "PCX", "TGA"):
        assert "JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, JPEG2000, AVIF are read" in refusal(
            tmp_path, encoded(Image.fromarray(NOISE), form)
        )


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_file_cut_short_all_pixels_are_read_or_none(tmp_path: Path, form: str) -> None:
    data = encoded(Image.fromarray(NOISE), form)
    whole = read(tmp_path, data)
    for length in range(len(data)):
        try:
            image = read(tmp_path, data[:length])
        except ValueError:
            continue
        assert torch.equal(image, whole)
        assert length > len(data) - 25


@pytest.mark.parametrize(("pixels", "verdict"), [(116, "refused"), (117, "read"), (58, "refused"), (None, "read")])
def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int | None, verdict: str
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)  # the picture has 13 x 9 = 117
    for form in FORMATS:
        data = encoded(Image.fromarray(NOISE), form)
        if verdict == "read":
            assert read(tmp_path, data).shape == (3, 9, 13)
        else:
            words = refusal(tmp_path, data)
            assert "it is too large (" in words
            assert f"the limit is {pixels} pixels" in words
            assert "raise PIL.Image.MAX_IMAGE_PIXELS" in words


def test_a_large_picture_in_a_small_file_is_refused(tmp_path: Path) -> None:
    header = b"P6 12000 9000 255\n"
    assert "it is too large (12000 x 9000 pixels; the limit is 89478485 pixels)" in refusal(tmp_path, header)


def test_an_opened_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.fromarray(NOISE), "PNG")[:200])
    with (
        Image.open(path) as file,
        pytest.raises(ImageError, match=r"cannot use the picture .*x\.png: it ends before"),
    ):
        image_to_tensor(file)


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match=r"it has no pixels \(0 x 5\)"):
        image_to_tensor(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "film"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_what_is_known_and_not_read_is_named(tmp_path: Path, head: bytes, said: str) -> None:
    assert said in refusal(tmp_path, head)


def test_the_limit_can_be_raised_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    data = encoded(Image.fromarray(NOISE), "PNG")
    assert "DETR_MINI_MAX_PIXELS" in refusal(tmp_path, data)
    monkeypatch.setenv("DETR_MINI_MAX_PIXELS", "117")
    assert read(tmp_path, data).shape == (3, 9, 13)
    monkeypatch.setenv("DETR_MINI_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="must be a whole number of pixels"):
        read(tmp_path, data)
