"""Pictures to numbers: read with Pillow, then resized, cropped and normalised as ``preprocessor_config.json`` says.

A picture is named by its file or is a data URL that holds it. numpy and Pillow only, Pillow when it is needed; it knows no
task and no model. `PictureEncoder` does what transformers' own image processors (the PIL ones) do, to the bit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Batch, Draw, Window
from luban.errors import DataError, FolderError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = NDArray[np.uint8]
SETTINGS = "preprocessor_config.json"
"the file of a base or folder that says how its pictures are prepared, as transformers writes it"
PIXELS = "pixel_values"
"a model's input: (b, 3, h, w)"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 50_000_000
"of a picture's file, and of the picture: a small file can unfold to gigabytes"
DATA_URL = re.compile(r"data:[\w/+.*-]*(;[\w=+.-]+)*?(;base64)?,", re.I)
HEAD = 200
"characters in which a data URL says what it is"
BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError, ZeroDivisionError,
    struct.error, zlib.error,
)  # fmt: skip
"what Pillow's readers raise for files that are damaged or are no pictures"
CELL = 32
"pixels of a side that cost about as much as one sub-word: what the last layers of most models for pictures see"
JPEG_QUALITY = 85
LARGEST = 4096
"pixels of a side that a model reads"
NO_TYPES, NO_PLACES = np.zeros(0, dtype=np.int64), ()


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes (3, height, width) numbers.

    ``resize``: (height, width), or the length of the shorter side; ``crop``: (height, width) of the middle that is read,
    padded with black where the picture is smaller. A value v of 0 to 255 becomes (v scale - mean) / std.
    """

    resize: tuple[int, int] | int
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Preprocessing:
        """From the whole of a ``preprocessor_config.json``; raises `ValueError` for what is not done here."""
        size, edge, crop = told["size"], told["size"].get("shortest_edge"), None
        if not told.get("do_resize", True) or told.get("do_pad") or set(size) - {"height", "width", "shortest_edge"}:
            raise ValueError("its pictures do not all come in one size")
        if told.get("do_center_crop"):
            crop = (int(told["crop_size"]["height"]), int(told["crop_size"]["width"]))
        resize: tuple[int, int] | int = int(edge) if edge else (int(size["height"]), int(size["width"]))
        if edge and "crop_pct" in told:
            crop = (int(edge), int(edge)) if edge < 384 else None
            resize = int(edge / told["crop_pct"]) if edge < 384 else (int(edge), int(edge))
        if isinstance(resize, int) and crop is None:
            raise ValueError("its pictures do not all come in one size")
        normal = told.get("do_normalize", True)
        mean = tuple(map(float, told["image_mean"])) if normal else (0.0,) * 3
        std = tuple(map(float, told["image_std"])) if normal else (1.0,) * 3
        scale = float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0
        found = cls(resize, crop, int(told.get("resample", 2)), scale, mean, std)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not 1 <= min(found.size) <= max(found.size) <= LARGEST:
            raise ValueError("it has no three means and spreads, or a size that cannot be")
        return found

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model reads."""
        return self.crop or self.resize  # type: ignore[return-value]

    def cut(self, picture: Image) -> Image:
        """The part that the model reads, in its size."""
        width, height = picture.size
        if isinstance(self.resize, tuple):
            goal = (self.resize[1], self.resize[0])
        else:
            short, long = sorted((width, height))
            longer = int(self.resize * long / short)
            goal = (self.resize, longer) if width <= height else (longer, self.resize)
        if picture.size != goal:
            picture = picture.resize(goal, resample=self.resample)
        if self.crop is None:
            return picture
        # As transformers: floor towards the upper left, for sizes that are odd and for those that are too small alike.
        left, top = (goal[0] - self.crop[1]) // 2, (goal[1] - self.crop[0]) // 2
        return picture.crop((left, top, left + self.crop[1], top + self.crop[0]))

    def numbers(self, pixels: Bytes) -> NDArray[np.float32]:
        """(3, h, w) values of 0 to 255 as the model wants them."""
        values = (np.arange(256, dtype=np.float64) * self.scale).astype(np.float32)
        tables = (values - np.array(self.mean, np.float32)[:, None]) / np.array(self.std, np.float32)[:, None]
        return np.stack([table[plane] for table, plane in zip(tables, pixels, strict=True)])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How pictures are varied while a model learns: a random part of at least ``least`` of the area (its sides' ratio up to
    ``ratio``), mirrored every second time where ``mirror``, brightness, contrast and saturation by up to ``colour``.

    Szegedy et al. 2015, "Going Deeper with Convolutions" (random resized crops).
    """

    least: float = 0.4
    ratio: float = 4 / 3
    mirror: bool = True
    colour: float = 0.2

    def varied(self, picture: Image, size: tuple[int, int], rng: np.random.Generator) -> Image:
        """Another view of the picture in ``size`` (height, width)."""
        from PIL import Image, ImageEnhance

        width, height = picture.size
        area = width * height * rng.uniform(self.least, 1.0)
        sides = float(np.exp(rng.uniform(-np.log(self.ratio), np.log(self.ratio))))
        wide = min(width, max(1, round((area * sides) ** 0.5)))
        high = min(height, max(1, round((area / sides) ** 0.5)))
        left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
        box = (left, top, left + wide, top + high)
        view = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
        if self.mirror and rng.random() < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            view = kind(view).enhance(float(rng.uniform(1 - self.colour, 1 + self.colour)))
        return view


@dataclass(frozen=True, slots=True, eq=False)
class Picture(Window):
    """A picture as the model reads it. ``kept``: its (3, h, w) values of 0 to 255; None: they are read when they are needed."""

    source: str = ""
    how: Preprocessing | None = None
    kept: Bytes | None = None
    augmentation: Augmentation | None = None

    @property
    def pixels(self) -> Bytes:
        """(3, h, w) values of 0 to 255; raises `DataError` where the picture cannot be read (any more)."""
        return self.kept if self.kept is not None else planes(self._how.cut(opened(self.source)))

    @property
    def length(self) -> int:
        height, width = self._how.size
        return max(1, height // CELL) * max(1, width // CELL)

    @property
    def key(self) -> bytes:
        return hashlib.blake2b(self.pixels.tobytes(), digest_size=16).digest()

    def seen(self, draw: Draw) -> Picture:
        if self.augmentation is None:
            return self
        view = self.augmentation.varied(opened(self.source), self._how.size, draw())
        return replace(self, kept=planes(view), augmentation=None)

    def varied(self, number: int) -> Picture:
        pixels = self.pixels.copy()
        pixels[:, -1, -1] += np.uint8(number % 256)
        return replace(self, kept=pixels)

    @staticmethod
    def batched(windows: Sequence[Any], pad_id: int) -> Batch:
        """``pixel_values`` (b, 3, h, w) of pictures."""
        return {PIXELS: np.stack([window._how.numbers(window.pixels) for window in windows])}

    @property
    def _how(self) -> Preprocessing:
        assert self.how is not None
        return self.how


class PictureEncoder:
    """How a folder's model sees pictures; ``settings`` is its `preprocessor_config.json`.

    ``lazy``: what is read is not kept, for pictures that are looked at once an epoch; ``augmentation``: of pictures that a
    model learns from. ``limit``: pixels of the longer side.
    """

    pad_id = 0

    def __init__(
        self, settings: Mapping[str, Any], *, lazy: bool = False, augmentation: Augmentation | None = None
    ) -> None:
        self.settings, self.how = dict(settings), Preprocessing.of(settings)
        self.lazy, self.augmentation, self.limit = lazy, augmentation, max(self.how.size)

    @classmethod
    def open(cls, folder: str | Path) -> PictureEncoder:
        """From the folder's `preprocessor_config.json`; raises `FolderError` where it is missing or says too little."""
        file = Path(folder) / SETTINGS
        try:
            return cls(json.loads(file.read_text(encoding="utf8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FolderError(
                f"{file} cannot be used ({error}).",
                "It says how pictures are resized, cropped and normalised to one size.",
                "Make the folder again, or take a base that reads pictures.",
            ) from error

    def picture(self, source: str) -> Picture:
        """A picture as one window; raises `DataError` where it cannot be read (of a lazy encoder: later)."""
        kept = None if self.lazy else planes(self.how.cut(opened(source)))
        return Picture(NO_TYPES, NO_TYPES, NO_PLACES, 1.0, None, 0, source, self.how, kept, self.augmentation)


def required_picture(record: Mapping[str, Any], column: str) -> str:
    """A picture's file or data URL; bytes, bare or as the data sets of the hub hold them, become a data URL.

    Raises `DataError` for anything else.
    """
    value = record.get(column)
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray):
        return data_url(bytes(value))
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise DataError(
            f"{value!r:.100} is no picture.",
            "A picture is the name of its file, a data URL, or its bytes.",
            "Fill it in or remove the row.",
            column=column,
        )
    return value


def opened(source: str) -> Image:
    """The picture, upright and in RGB; raises `DataError` for what is none, is damaged, or is too large."""
    reader, ops = _pillow()
    file = None if is_data(source) else source
    try:
        with reader.open(BytesIO(content(source)), formats=FORMATS) as found:
            if found.size[0] * found.size[1] > MOST_PIXELS:
                raise _too_large(f"{found.size[0]:,} x {found.size[1]:,} pixels", file)
            found.load()
            upright = ops.exif_transpose(found)
            if isinstance(upright.info.get("transparency"), bytes):  # of a palette: a colour's own, which is left out
                upright = upright.convert("RGBA")
            return cast("Image", upright.convert("RGB"))
    except (reader.DecompressionBombError, reader.DecompressionBombWarning) as error:
        raise _too_large("far too many pixels", file) from error
    except BROKEN as error:
        said = (str(error).splitlines() or [""])[0]
        what = "no picture, or one of a kind that is not read" if "cannot identify" in said else said[:120]
        raise DataError(
            f"the picture cannot be read ({what}).",
            f"A whole picture is expected: {', '.join(FORMATS)}.",
            "Save it again, or remove the row.",
            file=file,
            column="image",
        ) from error


def content(source: str) -> bytes:
    """The bytes of a picture's file; raises `DataError` where there are none, or too many."""
    if match := DATA_URL.match(source[:HEAD]):
        try:
            held = base64.b64decode(source[match.end() :], validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(
                f"the picture is not base64 ({error}).",
                "A picture is sent as the base64 of its file, or as a data URL.",
                "Encode the bytes of the file.",
                column="image",
            ) from error
        size, file = len(held), None
    else:
        file, path = source, Path(source)
        try:
            size = path.stat().st_size
            held = path.read_bytes() if size <= MOST_BYTES else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"the picture cannot be opened ({reason}).", "A picture's file is expected.", "Check the path.",
                file=source[:300], column="image",
            ) from error  # fmt: skip
    if not size:
        raise DataError(
            "the picture is empty.", "A picture's file has bytes.", "Save it again, or remove the row.",
            file=file, column="image",
        )  # fmt: skip
    if size > MOST_BYTES:
        raise _too_large(f"{size:,} bytes", file)
    return held


def is_data(source: str) -> bool:
    """Whether a picture is a data URL, not a file's name."""
    return DATA_URL.match(source[:HEAD]) is not None


def data_url(held: bytes, kind: str = "*") -> str:
    """The bytes of a picture's file as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(held).decode()}"


def small(picture: Image, side: int) -> str:
    """A picture as a JPEG whose longer side is at most ``side``, without what cameras write beside it: a data URL."""
    made = picture.copy()
    made.thumbnail((side, side))
    out = BytesIO()
    made.save(out, "JPEG", quality=JPEG_QUALITY)
    return data_url(out.getvalue(), "jpeg")


def made(number: int, *, side: int = 32) -> str:
    """A made-up picture, the same for the same number: two colours, one in a disc or a bar on the other; a data URL."""
    reader, _ = _pillow()
    rng = np.random.default_rng(number)
    down, across = np.mgrid[0:side, 0:side] / side - rng.uniform(0.3, 0.7)
    inside = down**2 + across**2 < 0.08 if number % 2 else np.abs(down + across * rng.uniform(-1, 1)) < 0.15
    ground, figure = rng.integers(0, 256, (2, 3))
    pixels = np.where(inside[..., None], figure, ground).astype(np.uint8)
    out = BytesIO()
    reader.fromarray(pixels).save(out, "PNG")
    return data_url(out.getvalue(), "png")


def pictured(pixels: Bytes) -> str:
    """(3, h, w) values as a JPEG: a data URL."""
    reader, _ = _pillow()
    return small(reader.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1))), max(pixels.shape))


def thumbnail(source: str, side: int = 112) -> str:
    """A small copy of a picture as a data URL; an empty text where it cannot be read any more."""
    try:
        return small(opened(source), side)
    except DataError:
        return ""


def named(source: str) -> str:
    """A picture in words: its file, or that it came along."""
    return "(picture)" if is_data(source) else source


def planes(picture: Image) -> Bytes:
    """(3, h, w) values of an RGB picture."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(picture, dtype=np.uint8), -1, 0))


def _too_large(what: str, file: str | None) -> DataError:
    return DataError(
        f"the picture has {what}.",
        f"At most {MOST_PIXELS:,} pixels in {MOST_BYTES:,} bytes are read.",
        "Make it smaller; models read far smaller ones.",
        file=file,
        column="image",
    )


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise MissingExtra("Reading pictures (Pillow)", "vision") from error
    return Image, ImageOps
