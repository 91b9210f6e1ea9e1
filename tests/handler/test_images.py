"""Every kind of image becomes an upright RGB one."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from torchfinch.handler import BadRequest, Limits, Preprocessing, TooLarge, UnsupportedMedia, open_image
from torchfinch.testing import encode_image

RED = (254, 0, 0)


def _sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((8, 8), 32896, dtype=np.uint16))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG"])
def test_formats_become_rgb(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = open_image(encode_image(Image.new("RGB", (8, 6), RED), file_format, **options))

    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.asarray(image)[..., 0].min() > 245
    assert np.asarray(image)[..., 1:].max() < 10


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 128), (128, 128, 128)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("RGB", (8, 8), RED).convert("P"), (254, 0, 0)),
        (_sixteen_bit(), (128, 128, 128)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
    ],
    ids=["grey", "transparent", "grey-alpha", "palette", "16-bit", "1-bit"],
)
def test_modes_become_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    pixel = open_image(encode_image(image)).getpixel((3, 3))

    assert pixel == pytest.approx(expected, abs=1)


def test_float_tiff_is_scaled() -> None:
    image = Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32))

    assert open_image(encode_image(image, "TIFF")).getpixel((0, 0)) == (128, 128, 128)


def test_cmyk_becomes_rgb() -> None:
    image = open_image(encode_image(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))

    assert image.getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=6)


def test_exif_orientation_turns_the_image_upright() -> None:
    image = Image.new("RGB", (10, 20))
    image.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    turned = open_image(encode_image(image, "JPEG", exif=exif, quality=100))

    assert turned.size == (20, 10)
    right = turned.getpixel((17, 5))
    assert isinstance(right, tuple)
    assert right[0] > 200


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])

    assert open_image(stream.getvalue()).getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=2)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encode_image(Image.new("1", (30_000, 30_000)))

    with pytest.raises(TooLarge, match="pixels"):
        open_image(bomb)


def test_what_pillow_only_warns_of_is_no_error_where_warnings_are() -> None:
    script = (
        "import sys, warnings, torch\n"
        "warnings.simplefilter('error')\n"
        "from torchfinch.handler import Limits, open_image\n"
        "print(open_image(sys.stdin.buffer.read(), Limits(max_pixels=1_000_000_000)).size)\n"
    )
    large = encode_image(Image.new("1", (10_000, 9_000)))
    done = subprocess.run([sys.executable, "-c", script], input=large, capture_output=True, check=False)

    assert done.stdout == b"(10000, 9000)\n", done.stderr


def test_an_image_that_pillow_itself_refuses_is_told_pillows_limit() -> None:
    bomb = encode_image(Image.new("1", (30_000, 30_000)))

    with pytest.raises(TooLarge, match="more than 178956970 pixels"):
        open_image(bomb, Limits(max_pixels=1_000_000_000))


@pytest.mark.parametrize(
    ("brand", "name"), [("heic", "HEIC"), ("hevc", "HEIC"), ("mif1", "HEIF"), ("msf1", "HEIF"), ("avis", "AVIF")]
)
def test_pictures_and_sequences_of_heif_are_called_by_their_name(brand: str, name: str) -> None:
    with pytest.raises(UnsupportedMedia, match=f"the image is {name}"):
        open_image(b"\x00\x00\x00\x18ftyp" + brand.encode() + bytes(20))


def test_formats_that_the_archive_does_not_allow_are_named() -> None:
    with pytest.raises(UnsupportedMedia, match="the image is PNG; send one of JPEG"):
        open_image(encode_image(Image.new("L", (4, 4))), Limits(formats=("JPEG",)))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_start_of_an_allowed_format_is_a_damaged_image_and_no_foreign_one(file_format: str) -> None:
    with pytest.raises(BadRequest, match="send an undamaged file"):
        open_image(encode_image(Image.new("L", (4, 4)), file_format)[:12])


def test_sound_is_not_called_an_image() -> None:
    with pytest.raises(BadRequest, match="are no image"):
        open_image(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(30))


@pytest.mark.parametrize("cut", [10, 60, 150, 400])
def test_truncated_files_are_no_images(cut: int) -> None:
    body = encode_image(Image.effect_noise((80, 80), 90).convert("RGB"), "JPEG")

    with pytest.raises(BadRequest):
        open_image(body[:cut])


def test_preprocessing_equals_torchvision_within_one_grey_level() -> None:
    import torch
    from torchvision.transforms import v2

    generator = np.random.default_rng(1)
    image = Image.fromarray(generator.integers(0, 256, (427, 640, 3), dtype=np.uint8))
    ours = Preprocessing(size=(224, 224), resize=256, interpolation="bicubic").pixels(image)
    resize = v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC)
    theirs = v2.functional.pil_to_tensor(v2.CenterCrop(224)(resize(image)))

    assert (ours.int() - theirs.int()).abs().max() <= 1
    assert torch.equal(ours, theirs) or (ours != theirs).float().mean() < 0.001


@pytest.mark.parametrize("size", [(1, 1), (1, 40_000), (40_000, 1), (3, 2)])
def test_extreme_images_are_preprocessed_in_bounded_memory(size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(size=(224, 224), resize=256)

    assert preprocessing(Image.new("RGB", size, "white")).shape == (3, 224, 224)


def test_preprocessing_survives_its_written_form() -> None:
    preprocessing = Preprocessing(size=(8, 8), mode="L", mean=(0.5,), std=(0.25,), interpolation="nearest")

    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "HSV"},
        {"interpolation": "cubic"},
        {"size": (0, 4)},
        {"resize": 4},
        {"mean": (0.5,)},
        {"std": (0, 1, 1)},
    ],
)
def test_impossible_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"; use|must be|need"):
        Preprocessing.from_dict({"size": (8, 8), **wrong})
