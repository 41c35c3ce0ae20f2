"""One image, whichever way it comes. Runs with any version of OpenCV, see docs/images.md."""

from __future__ import annotations

import io
import os

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.processing.decode_image import decode_image
from ghost_deploy.processing.file_kind import kind_of_file
from ghost_deploy.processing.images import as_bgr, read_image
from tests.support.assets import SHARED
from tests.support.image_files import jpeg_with_exif, png_with_exif, tiff, webp_with_exif

Y, X = np.mgrid[:48, :64]
PIXELS = np.stack((X * 4, Y * 5, 255 - X - Y * 3), axis=2).astype(np.uint8)
PIXELS[:2, :2] = 255
GREY = PIXELS[..., 0]
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}
CASES = SHARED / "cases"
_OPENCV = tuple(map(int, cv2.__version__.split(".")[:2]))
_UNREAD = {"GIF": (4, 12), "WEBP": (4, 11)}
_UNREAD = {name for name, first in _UNREAD.items() if first > _OPENCV}


def encoded(suffix, image=PIXELS, *options):
    done, data = cv2.imencode(suffix, image, *options)
    assert done
    return data.tobytes()


def routes(tmp_path, data, name="a.bin"):
    """The pixels by path, as bytes and as a PIL image, where PIL reads the file."""
    (tmp_path / name).write_bytes(data)
    found = {"path": read_image(tmp_path / name), "text": as_bgr(str(tmp_path / name))}
    found |= {"bytes": as_bgr(data), "view": as_bgr(memoryview(data))}
    found["frame"] = as_bgr(Frame(found["path"]))
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(data))
    found["pil"] = as_bgr(image)
    return found


def all_equal(found, expected, atol=0):
    for name, pixels in found.items():
        assert (pixels.dtype, pixels.flags.c_contiguous) == (np.uint8, True), name
        np.testing.assert_allclose(
            pixels.astype(int), expected.astype(int), rtol=0, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("form", ["jpeg", "jpeg MM", "png", "webp", "tiff", "tiff MM"])
def test_every_orientation_of_every_format(tmp_path, form, orientation):
    webp_options = [cv2.IMWRITE_WEBP_QUALITY, 101]
    data = {
        "jpeg": lambda: jpeg_with_exif(encoded(".jpg"), orientation),
        "jpeg MM": lambda: jpeg_with_exif(encoded(".jpg"), orientation, ">"),
        "png": lambda: png_with_exif(encoded(".png"), orientation),
        "webp": lambda: webp_with_exif(
            encoded(".webp", PIXELS, webp_options), (48, 64), orientation
        ),
        "tiff": lambda: tiff(PIXELS[..., ::-1], orientation),
        "tiff MM": lambda: tiff(PIXELS[..., ::-1], orientation, ">"),
    }[form]()
    stored = cv2.imdecode(np.frombuffer(encoded(".jpg"), np.uint8), 1) if "jpeg" in form else PIXELS
    all_equal(routes(tmp_path, data), UPRIGHT[orientation](stored), atol=1 if "jpeg" in form else 0)


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_the_rotation_of_avif(tmp_path, orientation):
    image_module = pytest.importorskip("PIL.Image")
    if not pytest.importorskip("PIL.features").check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = image_module.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image = image_module.fromarray(PIXELS[..., ::-1].copy())
    image.save(file, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    if _OPENCV < (4, 12):
        with pytest.raises(ImageError, match="reads AVIF"):
            decode_image(file.getvalue())
        return
    found = routes(tmp_path, file.getvalue())
    all_equal(found, UPRIGHT[orientation](PIXELS), atol=6)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form", [".png", ".tif", "MM", ".pgm"])
def test_every_depth_of_grey(tmp_path, form, bits):
    dtype = np.uint8 if bits == 8 else np.uint16
    deep = np.rint(GREY / 255 * (2**bits - 1)).astype(dtype)
    if form == ".pgm":
        data = (
            b"P5\n64 48\n%d\n" % (2**bits - 1) + deep.astype(deep.dtype.newbyteorder(">")).tobytes()
        )
    else:
        data = tiff(deep, order=">") if form == "MM" else encoded(form, deep)
    found = routes(tmp_path, data)
    found["array"] = as_bgr(deep)
    found["(H, W, 1)"] = as_bgr(deep[..., None])
    found["float"] = as_bgr(deep.astype(np.float32))
    all_equal(found, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("form", [".png", ".tif"])
def test_every_depth_of_colour_by_path(tmp_path, form, bits):
    """Not through PIL, which keeps the upper 8 bits alone when it opens such a file."""
    deep = PIXELS.astype(np.uint16) << (bits - 8)
    data = encoded(form, deep)
    all_equal({"bytes": as_bgr(data), "array": as_bgr(deep)}, PIXELS)


def test_floating_point_by_path_and_through_pil(tmp_path):
    all_equal(routes(tmp_path, tiff((GREY / 255).astype(np.float32))), GREY[..., None].repeat(3, 2))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "F", "I;16"]
)
def test_every_mode_of_pil(mode):
    image_module = pytest.importorskip("PIL.Image")
    grey = image_module.fromarray(GREY)
    colour = image_module.fromarray(PIXELS[..., ::-1].copy())
    if mode == "I;16":
        image = image_module.fromarray(GREY.astype(np.uint16))
        assert image.mode == mode
    else:
        image = (grey if mode in ("L", "LA", "I", "F", "1") else colour).convert(mode)
    expected = (
        PIXELS if mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr") else GREY[..., None].repeat(3, 2)
    )
    if mode in ("1", "P", "PA"):
        expected = np.asarray(image.convert("RGB"))[..., ::-1]
    all_equal({mode: as_bgr(image)}, expected, atol=3 if mode == "YCbCr" else 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_palettes_alpha_and_one_bit(tmp_path, form, mode):
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.fromarray(PIXELS[..., ::-1].copy()).convert(mode)
    file = io.BytesIO()
    image.save(file, form)
    all_equal(routes(tmp_path, file.getvalue()), np.asarray(image.convert("RGB"))[..., ::-1])


def test_a_cmyk_jpeg(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image_module.fromarray(PIXELS[..., ::-1].copy()).convert("CMYK").save(file, "JPEG", quality=100)
    all_equal(routes(tmp_path, file.getvalue()), PIXELS, atol=6)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_tiny_images(tmp_path, suffix, size_hw):
    image = np.full((*size_hw, 3), 200, np.uint8)
    data = tiff(image) if suffix == ".tif" else encoded(suffix, image)
    all_equal(routes(tmp_path, data), image, atol=1)


@pytest.mark.parametrize(
    "options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]], ids=["plain", "progressive"]
)
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path, options):
    data = encoded(".jpg", PIXELS, options)
    whole = read_image(_written(tmp_path / "a.jpg", data))
    for cut in (data[:-2], data[:-1], data[:-2] + b"\0" * 37):
        np.testing.assert_array_equal(decode_image(cut), whole)
    np.testing.assert_array_equal(decode_image(data + b"\r\n" + b"\xff" * 99), whole)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".jp2"])
def test_an_image_that_is_cut_off_is_refused(suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    data = encoded(suffix, noise)
    with pytest.raises(ImageError, match="is damaged"):
        decode_image(data[: int(len(data) * share)])


def test_a_whole_jpeg_may_end_in_grey():
    grey = PIXELS.copy()
    grey[24:] = 128
    for options in ([], [cv2.IMWRITE_JPEG_QUALITY, 100]):
        data = encoded(".jpg", grey, options)
        np.testing.assert_array_equal(decode_image(data[:-2]), decode_image(data))


def test_a_jpeg_without_its_end_marker_is_decoded_quietly(tmp_path, capfd):
    data = encoded(".jpg")
    decode_image(data[:-2])
    assert capfd.readouterr().err == ""


def test_a_progressive_jpeg_that_is_cut_off_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    data = encoded(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    with pytest.raises(ImageError, match="it is cut off"):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, form):
    image_module = pytest.importorskip("PIL.Image")
    first = image_module.fromarray(PIXELS[..., ::-1].copy())
    path = tmp_path / "a.jpg"
    options = {"lossless": True} if form == "WEBP" else {}
    first.save(path, form, save_all=True, append_images=[first.rotate(180)], **options)
    assert kind_of_file(path) == "animation"
    if form in _UNREAD:
        with pytest.raises(ImageError, match=form):
            read_image(path)
        return
    with image_module.open(path) as image:
        np.testing.assert_array_equal(read_image(path), as_bgr(image))


def test_a_pil_image_that_does_not_decode(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    path = _written(tmp_path / "a.png", encoded(".png")[:-60])
    with image_module.open(path) as image, pytest.raises(ImageError, match=r"a\.png cannot be"):
        as_bgr(image)


def test_a_pil_image_above_the_limit_is_not_decoded(tmp_path, monkeypatch):
    image_module = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("GHOST_DEPLOY_MAX_PIXELS", "3071")
    with (
        image_module.open(_written(tmp_path / "a.png", encoded(".png"))) as image,
        pytest.raises(ImageError, match="64 x 48 pixels"),
    ):
        as_bgr(image)


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {CASES}")
def test_the_cases_of_the_field():
    """The same whatever the version of OpenCV."""
    assert read_image(CASES / "exif6.webp").shape == (480, 640, 3)
    assert read_image(CASES / "no_eoi.jpg").shape == (480, 640, 3)
    with pytest.raises(ImageError, match="cut off"):
        read_image(CASES / "trunc_seq.jpg")
    deep = cv2.imread(str(CASES / "grey16.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_image(CASES / "grey16.png")[..., 0], deep >> 8)


def _written(path, data):
    path.write_bytes(data)
    return path


def test_a_name_with_a_zero_is_named(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(os.fspath(tmp_path) + "/a\0.png")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colors_of_many_bits_that_pil_has_opened(tmp_path, suffix, bits):
    """PIL would keep the upper 8 of 16 bits, and 12 bits would be nearly black."""
    deep = (PIXELS.astype(np.uint16) << (bits - 8)) | 3
    found = routes(tmp_path, encoded(suffix, deep))
    all_equal(found, PIXELS)
    image = pytest.importorskip("PIL.Image").open(tmp_path / "a.bin")
    np.testing.assert_array_equal(as_bgr(image), as_bgr(image))
    assert image.getpixel((1, 0)) is not None, "the image can still be used"


@pytest.mark.parametrize("orientation", [1, 6])
def test_alpha_of_a_tiff_is_not_blended(tmp_path, orientation):
    image = pytest.importorskip("PIL.Image")
    color = image.fromarray(np.ascontiguousarray(PIXELS[..., ::-1]))
    color.putalpha(image.fromarray(GREY))
    exif = image.Exif()
    exif[274] = orientation
    color.save(tmp_path / "a.tif", exif=exif)
    expected = UPRIGHT[orientation](PIXELS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)
