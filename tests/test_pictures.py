"""Pictures: read as transformers' own processors read them, and refused with a reason where they cannot be read."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from luban import pictures
from luban.encoding import collate
from luban.errors import DataError, FolderError
from luban.pictures import Augmentation, PictureEncoder, content, data_url, is_data, made, opened, small

COMMON = {"resample": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 255}
FLAGS = {"do_resize": True, "do_rescale": True, "do_normalize": True}
SIGHTS: dict[str, dict[str, Any]] = {
    "MobileNetV1": {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
    "MobileNetV2": {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 33, "width": 32}},
    "ViT": {"size": {"height": 32, "width": 24}},
    "ConvNext": {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3},
}


def settings(kind: str, **changes: Any) -> dict[str, Any]:
    return {"image_processor_type": f"{kind}ImageProcessor", **COMMON, **FLAGS, **SIGHTS[kind], **changes}


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode) if mode != "RGBA" else Image.fromarray(values, "RGBA")


def theirs(kind: str, source: str, **changes: Any) -> np.ndarray[Any, Any]:
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**{**settings(kind, **changes)})
    return np.asarray(processor(images=opened(source), return_tensors="np")["pixel_values"])


@pytest.mark.parametrize("kind", list(SIGHTS))
@pytest.mark.parametrize("size", [(50, 31), (31, 50), (32, 32), (9, 70), (40, 40), (1, 1)])
def test_pictures_become_the_numbers_that_transformers_makes_of_them(kind: str, size: tuple[int, int]) -> None:
    source = data_url(saved(noise(*size)))
    window = PictureEncoder(settings(kind)).picture(source)
    np.testing.assert_array_equal(collate([window], 0)["pixel_values"], theirs(kind, source))


def test_without_normalising_the_numbers_are_those_of_transformers_too() -> None:
    source = data_url(saved(noise(50, 31)))
    window = PictureEncoder(settings("ViT", do_normalize=False)).picture(source)
    np.testing.assert_array_equal(collate([window], 0)["pixel_values"], theirs("ViT", source, do_normalize=False))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_every_mode_of_colour_is_read_as_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert opened(data_url(saved(noise(8, 6, mode), kind))).mode == "RGB"


def test_a_picture_stands_upright_as_its_camera_says() -> None:
    picture = noise(8, 6)
    exif = picture.getexif()
    exif[274] = 6
    assert opened(data_url(saved(picture, exif=exif.tobytes()))).size == (6, 8)


def test_a_lazy_encoder_gives_the_same_picture_when_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(noise(50, 31)))
    eager, lazy = (
        PictureEncoder(settings("ViT"), lazy=lazy).picture(str(tmp_path / "a.png")) for lazy in (False, True)
    )
    assert lazy.kept is None
    assert eager.key == lazy.key
    assert eager.length == lazy.length == 1


def test_a_varied_picture_is_another_one_of_the_same_size() -> None:
    window = PictureEncoder(settings("ViT")).picture(made(1))
    assert len({window.varied(i).key for i in range(5)}) == 5
    assert window.varied(0).key == window.key


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_an_augmented_picture_has_the_size_that_is_read(width: int, height: int, seed: int) -> None:
    view = Augmentation().varied(noise(width, height), (24, 32), np.random.default_rng(seed))
    assert view.size == (32, 24)


def test_the_same_seed_gives_the_same_variation_and_another_gives_another() -> None:
    picture, same = noise(40, 40), []
    for seed in (1, 1, 2):
        same.append(np.asarray(Augmentation().varied(picture, (32, 32), np.random.default_rng(seed))))
    assert np.array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])


def bad(kind: str, tmp_path: Path) -> str:
    """A file that is no whole picture."""
    whole = saved(noise(64, 64), "JPEG")
    held = {
        "truncated": whole[: len(whole) // 2],
        "text": b"this is a text that calls itself a picture",
        "empty": b"",
        "header": whole[:4],
        "png": saved(noise(64, 64))[:-200] + b"\0" * 90,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }[kind]
    file = tmp_path / f"{kind}.jpg"
    file.write_bytes(held)
    return str(file)


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "header", "png", "svg", "postscript"])
def test_a_file_that_is_no_whole_picture_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the picture") as error:
        opened(bad(kind, tmp_path))
    assert str(error.value.file).endswith(f"{kind}.jpg")
    assert error.value.column == "image"


@given(st.binary(max_size=300), st.integers(0, 200))
def test_whatever_bytes_come_they_are_a_picture_or_a_data_error(noise_: bytes, at: int) -> None:
    whole = bytearray(saved(noise(16, 16)))
    whole[at : at + len(noise_)] = noise_
    with suppress(DataError):
        assert opened(data_url(bytes(whole))).mode == "RGB"


@pytest.mark.parametrize("size", [(20_000, 20_000), (9_000, 9_000)])
def test_a_small_file_that_unfolds_to_too_many_pixels_is_refused(size: tuple[int, int]) -> None:
    bomb = saved(Image.new("1", size))
    assert len(bomb) < 2**17
    with pytest.raises(DataError, match="pixels"):
        opened(data_url(bomb))


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    (tmp_path / "a.png").write_bytes(b"x" * 11)
    with pytest.raises(DataError, match="11 bytes"):
        content(str(tmp_path / "a.png"))


@pytest.mark.parametrize("source", ["nowhere.jpg", "a\0b.jpg", "/", "x" * 9000])
def test_a_file_there_is_not_is_a_data_error(source: str) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        opened(source)


@pytest.mark.parametrize("source", ["data:image/png;base64,*?", "data:image/png;base64,abc"])
def test_what_is_no_base64_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="not base64"):
        opened(source)


@pytest.mark.parametrize("source", ["data:image/png;base64,AA", "data:;base64,AA", "data:image/*;base64,AA"])
def test_data_urls_are_told_from_files(source: str) -> None:
    assert is_data(source)
    assert not is_data("/9j/4AAQ.jpg")


def test_a_small_copy_holds_nothing_that_a_camera_wrote() -> None:
    picture = noise(60, 40)
    exif = picture.getexif()
    exif[270] = "taken at home"
    source = data_url(saved(picture, "JPEG", exif=exif.tobytes()))
    copy = base64.b64decode(small(opened(source), 20).partition(",")[2])
    assert b"taken at home" not in copy
    assert Image.open(io.BytesIO(copy)).size == (20, 13)


@pytest.mark.parametrize(
    "changes",
    [
        {"do_pad": True},
        {"size": {"shortest_edge": 32}},
        {"size": {"longest_edge": 9}},
        {"image_std": [0, 1, 1]},
        {"size": {}},
    ],
)
def test_settings_that_are_not_done_here_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    import json

    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings("ViT", **changes)), encoding="utf8")
    with pytest.raises(FolderError, match=r"preprocessor_config\.json cannot be used"):
        PictureEncoder.open(tmp_path)
