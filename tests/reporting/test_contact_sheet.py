"""A contact sheet shows every picture whole, with its name below."""

import numpy as np
import pytest
import torch

from pixelvae.reporting.contact_sheet import SPECTROGRAM, Section, contact_sheet, thumbnails
from pixelvae.reporting.figures import render


def sheet(n, shape=(1, 6, 6), **options):
    x = torch.randint(0, 4, (n, *shape))
    lines = [[f"folder/a rather long name of a file {i:03}.png", f"{i} nats"] for i in range(n)]
    return contact_sheet([Section("heading", x, lines, **options)], levels=4, title="Title", caption="word " * 40), x


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 6, 6)), (11, (3, 6, 9)), (3, (1, 300, 300))])
def test_every_pixel_is_shown_enlarged_by_a_whole_number(n, shape):
    figure, x = sheet(n, shape)
    (canvas,) = (image.get_array() for image in figure.axes[0].images)
    scale = max(1, min(16, 206 // max(shape[1:])))
    wanted = np.rint(x.numpy() * 85).astype(np.uint8).transpose(0, 2, 3, 1)
    shown = [np.broadcast_to(tile, (*tile.shape[:2], 3)).repeat(scale, 0).repeat(scale, 1) for tile in wanted]
    windows = np.lib.stride_tricks.sliding_window_view(canvas, shown[0].shape)[:, :, 0]
    for tile in shown:
        corners = (windows[:, :, 0, 0] == tile[0, 0]).all(-1)
        assert any(np.array_equal(windows[place], tile) for place in zip(*corners.nonzero(), strict=True))


def test_every_name_is_there_and_no_text_is_cut_off():
    figure, _ = sheet(20)
    picture, axes = render(figure), figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "heading"
    for i in range(20):
        assert any(text.startswith("…") and text.endswith(f"{i:03}.png") for text in texts), "the end tells files apart"
        assert f"{i} nats" in texts
    boxes = [text.get_window_extent() for text in (*axes.texts, *figure.texts)]
    height, width, _ = picture.shape
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    names = [box for box, text in zip(boxes, texts, strict=False) if text.startswith("…")]
    for i, one in enumerate(names):
        assert not any(one.overlaps(other) for other in names[i + 1 :])


def test_the_first_pictures_stand_in_frames():
    figure, _ = sheet(5, framed=2)
    assert len(figure.axes[0].patches) == 2


def test_a_sheet_without_pictures_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([Section("", torch.zeros(0, 1, 4, 4), [])], levels=2, title="t")


def test_sounds_are_shown_as_spectrograms_and_pictures_as_they_are():
    x = torch.randint(0, 4, (2, 3, 5, 5))
    assert thumbnails(x, 4)[0] is x
    time = torch.arange(2000)
    low, high = (torch.sin(2 * torch.pi * time * f) for f in (0.02, 0.4))  # cycles per sample
    levels = ((torch.stack([low, high])[:, None] + 1) * 7.5).round().long()
    shown, num_levels = thumbnails(levels, 16)
    assert shown.shape == (2, 3, *SPECTROGRAM)
    assert num_levels == 256
    rows = shown.double().mean((1, 3)).argmax(1)
    assert rows[0] > SPECTROGRAM[0] * 0.85, "low tones are at the bottom"
    assert rows[1] < SPECTROGRAM[0] * 0.3
