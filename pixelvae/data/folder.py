"""A data set of any folder of pictures."""

from __future__ import annotations

from pathlib import Path

from pixelvae.data.augmentation import Augmentation
from pixelvae.data.cache import CachedPictures, decode_all
from pixelvae.data.files import OnError, divide, find_files
from pixelvae.data.images import ImageSplit
from pixelvae.data.picture_files import EXTENSIONS, Fit, PictureFiles, PictureReader
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet, SplitName
from pixelvae.data.transforms import Binarisation, Quantiser


class ImageFolder(DataSet):
    """Any folder of pictures, split by its folders, by a csv file, or by a hash.

    Folders ``train``, ``validation`` (or ``val``, ``valid``) and ``test`` directly below `root` are the splits. A
    missing one is a tenth of the training pictures; without any, the splits are 80 / 10 / 10. A hash of its path
    assigns each picture, so that adding a picture moves no other to another split.

    Folders below that are classes, numbered in alphabetical order; without them there are no labels. Hidden files, and
    files without an extension of pictures, are ignored. All pictures are decoded once, when the data set is made.

    Args:
        root: The folder.
        size: Height and width in one number, or as [H, W].
        levels: K, from 2 to 256.
        grey: One channel instead of red, green and blue.
        binarisation: With two levels only: ``dynamic`` (the default) or ``threshold``, see `Quantiser`.
        seed: Seed of the draws of binary pixels, flips and shifts.
        fit: How pictures of other proportions are resized: ``crop``, ``pad`` or ``stretch``, see `PictureReader`.
        background: Colour behind transparent pixels and beside padded pictures.
        flip: Mirror training pictures at random.
        shift: Maximum random shift of training pictures, in pixels.
        splits: A csv file with columns ``path`` and ``split``, absolute or within `root`.
        on_error: ``raise`` an error that lists the pictures that cannot be read, or ``skip`` them.
        cache: Keep the decoded pictures in the user's cache folder (or ``PIXELVAE_CACHE``); otherwise they are
            decoded on each access.

    Raises:
        ValueError: If an option is out of range, pictures cannot be read, there are fewer than three, the splits are
            ambiguous, or only some pictures lie in class folders.

    Example:
        >>> from PIL import Image
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     for number in range(50):
        ...         Image.new("RGB", (8, 6)).save(f"{root}/{number}.png")
        ...     data = ImageFolder(root, size=4, cache=False)
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(3, 4, 4), levels=256, num_classes=()), 41, 3, 6)
    """

    def __init__(
        self,
        root: str | Path,
        size: int | tuple[int, int],
        levels: int = 256,
        grey: bool = False,
        binarisation: Binarisation | None = None,
        seed: int = 0,
        fit: Fit = "crop",
        background: str = "white",
        flip: bool = False,
        shift: int = 0,
        splits: str | Path | None = None,
        on_error: OnError = "raise",
        cache: bool = True,
    ) -> None:
        quantise = Quantiser(levels, binarisation, seed=seed)
        augment = Augmentation(flip, shift, seed)
        read = PictureReader(size, fit, grey, background)
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'skip'")
        folder = Path(root).expanduser()
        divided = divide(folder, find_files(folder, EXTENSIONS, "picture"), splits)
        decoded = decode_all(folder, list(divided.splits), read, read.settings, read.shape, cache)
        divided = divided.without(decoded.unreadable, "pictures", on_error)
        row = {file: i for i, file in enumerate(divided.splits)}
        num_classes = (len(divided.classes),) if divided.classes else ()
        spec = DataSpec(read.shape, levels, num_classes)

        def split(name: SplitName) -> ImageSplit:
            files = divided.members(name)
            pictures = (
                PictureFiles(folder, files, read)
                if decoded.file is None
                else CachedPictures(decoded.file, read.shape, [row[file] for file in files])
            )
            return ImageSplit(
                name,
                pictures,
                divided.labels(name),
                spec,
                quantise,
                augment=augment,
                class_names=(divided.classes,) if divided.classes else (),
                files=files,
            )

        super().__init__(split("train"), split("validation"), split("test"))
