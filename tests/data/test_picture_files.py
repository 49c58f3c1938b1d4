"""Picture files are decoded to 8-bit values of one size; errors name the file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pixelvae.data.files import FileError
from pixelvae.data.picture_files import EXTENSIONS, Fit, PictureFiles, PictureReader


def read(
    file: Path,
    size: int | tuple[int, int] = 4,
    grey: bool = False,
    fit: Fit = "crop",
    background: str = "white",
) -> torch.Tensor:
    reader = PictureReader(size, fit, grey, background)
    return PictureFiles(file.parent, [file.name], reader)[torch.tensor([0])][0]


class TestPictures:
    @pytest.mark.parametrize(("grey", "channels"), [(True, 1), (False, 3)])
    def test_those_of_the_right_size_are_unchanged(self, tmp_path: Path, grey: bool, channels: int) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
        pixels = pixels[..., :1].repeat(3, axis=2) if grey else pixels
        Image.fromarray(pixels).save(tmp_path / "a.png")
        x = read(tmp_path / "a.png", grey=grey)
        assert x.dtype == torch.uint8
        assert (x.numpy() == pixels.transpose(2, 0, 1)[:channels]).all()

    @pytest.mark.parametrize(("height", "width"), [(8, 24), (24, 8)])
    def test_the_short_side_is_scaled_and_the_long_side_cropped(self, tmp_path: Path, height: int, width: int) -> None:
        pixels = np.zeros((height, width, 3), np.uint8)
        centre = pixels[:, 4:20] if width > height else pixels[4:20]  # a little wider, as the filter is
        centre[:] = 200
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert (read(tmp_path / "a.png") == 200).all()

    def test_they_stand_as_the_camera_was_held(self, tmp_path: Path) -> None:
        picture = Image.new("L", (4, 4))
        picture.paste(255, (0, 0, 4, 2))  # the upper half is white
        exif = Image.Exif()
        exif[0x0112] = 3  # orientation: upside down
        picture.save(tmp_path / "a.png", exif=exif)
        assert (read(tmp_path / "a.png", grey=True)[0, :2] == 0).all()

    @pytest.mark.parametrize(
        ("mode", "extension"),
        [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("CMYK", "jpg")],
    )
    def test_any_mode_is_read(self, tmp_path: Path, mode: str, extension: str) -> None:
        file = tmp_path / f"a.{extension}"
        Image.new("RGB", (4, 4), "white").convert(mode).save(file)
        assert (read(file) == 255).all()

    def test_a_palette_with_transparency_is_read(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4), "white").convert("P").save(tmp_path / "a.png", transparency=b"\x00\x80")
        assert (read(tmp_path / "a.png") == 255).all()

    @pytest.mark.parametrize("extension", ["png", "tiff", "pgm"])
    def test_16_bits_are_scaled(self, tmp_path: Path, extension: str) -> None:
        wide = np.array([[0, 128, 129, 257], [60_000, 65_535, 30_000, 1_000]] * 2, np.uint16)
        Image.fromarray(wide).save(tmp_path / f"a.{extension}")
        expected = torch.from_numpy(np.round(wide / 257).astype(np.uint8))
        assert (read(tmp_path / f"a.{extension}", grey=True)[0] == expected).all()

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_32_bits_are_refused(self, tmp_path: Path, mode: str) -> None:
        Image.new(mode, (4, 4)).save(tmp_path / "a.tiff")
        with pytest.raises(FileError, match=rf"a\.tiff: it has pixels of mode '{mode}.*', want 8 or 16 bits"):
            read(tmp_path / "a.tiff")

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_pixels_show_the_background(self, tmp_path: Path, mode: str) -> None:
        picture = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
        picture.paste((255, 0, 0, 0), (0, 0, 4, 2))  # red, but not to be seen
        picture.convert(mode).save(tmp_path / "a.png")
        x = read(tmp_path / "a.png", background="#0000ff")
        assert x[:, 0, 0].tolist() == [0, 0, 255]
        assert x[:, 3, 3].tolist() == ([76] * 3 if mode == "LA" else [255, 0, 0])

    def test_a_half_transparent_pixel_is_a_mixture(self, tmp_path: Path) -> None:
        Image.new("LA", (4, 4), (0, 128)).save(tmp_path / "a.png")
        assert (read(tmp_path / "a.png") == 127).all()

    @pytest.mark.parametrize("extension", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
    @pytest.mark.parametrize("kept", [0, 10, 60])
    def test_a_broken_one_is_named(self, tmp_path: Path, extension: str, kept: int) -> None:
        file = tmp_path / f"broken.{extension}"
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(ValueError, match=rf"cannot read the picture .*broken\.{extension}: .*mend or remove"):
            read(file)


class TestFit:
    """A picture of 8 x 16 whose left half is black and whose right half is white."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        picture = Image.new("L", (16, 8))
        picture.paste(255, (8, 0, 16, 8))
        picture.save(tmp_path / "a.png")
        return tmp_path / "a.png"

    def test_crop_fills_the_size(self, file: Path) -> None:
        x = read(file, (8, 4), grey=True)[0]
        assert x.shape == (8, 4)
        assert (x == torch.tensor([0, 0, 255, 255], dtype=torch.uint8)).all()

    def test_pad_shows_all_of_it_on_the_background(self, file: Path) -> None:
        x = read(file, (16, 16), fit="pad", background="red")
        assert (x[0, :4] == 255).all()
        assert (x[1:, :4] == 0).all()
        assert (x[:, 4:12, :6] == 0).all()
        assert (x[:, 4:12, 10:] == 255).all()
        assert (x[1:, 12:] == 0).all()

    def test_pad_puts_a_tall_picture_in_the_middle(self, tmp_path: Path) -> None:
        Image.new("L", (8, 16)).save(tmp_path / "a.png")
        x = read(tmp_path / "a.png", (16, 16), grey=True, fit="pad")[0]
        assert (x[:, 4:12] == 0).all()
        assert (x[:, :4] == 255).all()
        assert (x[:, 12:] == 255).all()

    def test_stretch_changes_its_proportions(self, file: Path) -> None:
        x = read(file, (16, 16), grey=True, fit="stretch")[0]
        assert (x[:, :6] == 0).all()
        assert (x[:, 10:] == 255).all()

    @pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
    def test_a_line_of_pixels_is_read(self, tmp_path: Path, fit: Fit) -> None:
        Image.new("L", (1000, 1), 7).save(tmp_path / "a.png")
        assert read(tmp_path / "a.png", (4, 4), grey=True, fit=fit, background="black").max() == 7

    @pytest.mark.parametrize("fit", ["crop", "stretch"])
    @pytest.mark.parametrize(("height", "width"), [(64, 1024), (1024, 64)])
    def test_a_draft_keeps_the_side_that_is_not_scaled(self, tmp_path: Path, fit: Fit, height: int, width: int) -> None:
        """A strip of small squares, of the final size in one direction: each of its pixels there is needed."""
        squares = np.indices((height, width)).sum(0) // 4 % 2 if fit == "crop" else np.indices((height, width))
        if fit == "stretch":
            squares = squares[0 if height < width else 1] // 4 % 2  # stripes along the side that is scaled
        Image.fromarray((255 * squares).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
        Image.fromarray((255 * squares).astype(np.uint8)).save(tmp_path / "a.png")
        drafted, whole = (read(tmp_path / name, (64, 64), grey=True, fit=fit).float() for name in ("a.jpg", "a.png"))
        assert (drafted - whole).abs().mean() < 5

    @pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_a_draft_of_a_jpeg_looks_like_the_whole(self, tmp_path: Path, fit: Fit, orientation: int) -> None:
        """Compared with the same pixels from a format without drafts."""
        ramp = np.linspace(0, 255, 640 * 480 * 3).reshape(480, 640, 3).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95, exif=exif)
        Image.fromarray(ramp).save(tmp_path / "a.png", exif=exif)
        drafted, whole = (read(tmp_path / name, (24, 40), fit=fit).float() for name in ("a.jpg", "a.png"))
        assert (drafted - whole).abs().max() < 4

    def test_a_draft_is_used_where_it_is_enough_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("L", (640, 480)).save(tmp_path / "a.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying, 1600 x 100; seen upright
        Image.new("L", (1600, 100)).save(tmp_path / "tall.jpg", exif=exif)
        loaded = []
        transpose = ImageOps.exif_transpose
        monkeypatch.setattr(
            ImageOps, "exif_transpose", lambda image, **how: loaded.append(image.size) or transpose(image, **how)
        )
        for size in (30, 60, 200):
            read(tmp_path / "a.jpg", size)
        read(tmp_path / "tall.jpg", (200, 10))
        assert loaded == [(80, 60), (160, 120), (640, 480), (400, 25)]


class TestWhatIsRefused:
    @pytest.mark.parametrize("extension", sorted(EXTENSIONS))
    def test_a_program_in_a_picture_does_not_run(
        self, tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
        Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
        file = (tmp_path / "a.eps").rename(tmp_path / f"0{extension}")
        with pytest.raises(FileError, match=rf"cannot read the picture .*0\{extension}: it holds none of .*JPEG, PNG"):
            read(file)

    @pytest.mark.parametrize("limit", [10, 40])
    def test_a_decompression_bomb_is_named(self, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("L", (10, 10)).save(tmp_path / "bomb.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(FileError, match=r"cannot read the picture .*bomb\.png: .*decompression bomb"):
            read(tmp_path / "bomb.png")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "size=0 must be at least 1 pixel"),
            ({"size": (4, 0)}, r"size=\(4, 0\) must be at least 1 pixel"),
            ({"size": (4, 4, 3)}, r"or height and width: \[H, W\]"),
            ({"size": 4.5}, r"size=4.5 must be"),
            ({"size": "44"}, r"size='44' must be"),
            ({"fit": "cover"}, "fit='cover' must be 'crop', 'pad' or 'stretch'"),
            ({"background": "whote"}, "background='whote' must be the name of a colour"),
        ],
    )
    def test_options_out_of_range(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            PictureReader(**{"size": 4, "fit": "crop", "grey": False, "background": "white"} | options)


@pytest.mark.parametrize("extension", [".jfif", ".avif", ".webp"])
def test_newer_kinds_are_read_where_pillow_reads_them(tmp_path: Path, extension: str) -> None:
    if extension not in Image.registered_extensions():
        pytest.skip(f"this Pillow reads no {extension}")
    Image.new("RGB", (4, 4), "white").save(tmp_path / f"a{extension}")
    assert (read(tmp_path / f"a{extension}") >= 254).all()
