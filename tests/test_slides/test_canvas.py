# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from scipy.io import loadmat
from slide_files import color_field, write_slide

from mmseg_cellvta.slides import ImageReader, SlideCanvas, TissueMask, open_slide
from mmseg_cellvta.slides.canvas import find_tissue

IMAGE = color_field(613, 805)
SCALES = [0.5, 0.73, 1, 1.31, 2.6, 4.5]
PINK, GLASS = (215, 130, 180), (240, 240, 242)


@pytest.fixture(scope='module', params=['array', 'pyramid', 'ome', 'single level'])
def reader(request, tmp_path_factory):
    if request.param == 'array':
        return ImageReader(IMAGE, mpp=0.5)
    pytest.importorskip('tiffslide' if request.param == 'ome' else 'openslide')
    levels = 1 if request.param == 'single level' else 3
    return open_slide(write_slide(
        tmp_path_factory.mktemp('slide') / 'a.tif', IMAGE, levels=levels,
        ome=request.param == 'ome'))


def read_whole(canvas: SlideCanvas) -> np.ndarray:
    height, width = canvas.shape
    return canvas.read(0, 0, width, height)


@pytest.mark.parametrize('scale', SCALES)
def test_canvas_is_the_whole_image_resized(reader, scale):
    canvas = SlideCanvas(reader, 0.5 * scale)
    height, width = canvas.shape
    assert (height, width) == (round(613 / scale), round(805 / scale))
    assert canvas.scale == (805 / width, 613 / height)
    resized = cv2.resize(IMAGE, (width, height), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(read_whole(canvas).astype(int) - resized)
    assert difference.max() <= 3 and difference.mean() < 0.6


@pytest.mark.parametrize('scale', SCALES)
def test_pixels_do_not_depend_on_the_rectangle(reader, scale):
    canvas = SlideCanvas(reader, 0.5 * scale)
    height, width = canvas.shape
    border = (99, 99), (99, 99), (0, 0)
    whole = np.pad(read_whole(canvas), border, constant_values=255)
    rng = np.random.default_rng(0)
    for _ in range(15):
        x, y = int(rng.integers(-99, width)), int(rng.integers(-99, height))
        w, h = (int(size) for size in rng.integers(1, 99, 2))
        np.testing.assert_array_equal(
            canvas.read(x, y, w, h), whole[99 + y:99 + y + h, 99 + x:99 + x + w])


@pytest.mark.parametrize('scale', [0.73, 1.31, 2.6, 4.5])
def test_pixels_of_noise_do_not_depend_on_the_rectangle(scale, monkeypatch):
    """Noise shows errors that a smooth image hides; small pieces add borders."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    canvas = SlideCanvas(ImageReader(noise, 0.5), 0.5 * scale)
    whole = read_whole(canvas)
    np.testing.assert_array_equal(canvas.read(7, 13, 71, 53), whole[13:66, 7:78])
    monkeypatch.setattr('mmseg_cellvta.slides.canvas.PIECE_PX', 64)
    np.testing.assert_array_equal(read_whole(canvas), whole)


def test_equal_resolution_is_a_copy():
    canvas = SlideCanvas(ImageReader(IMAGE, 0.5), 0.5)
    np.testing.assert_array_equal(read_whole(canvas), IMAGE)


def test_blocks_are_averaged_before_interpolation():
    stripes = np.zeros((60, 90, 3), np.uint8)
    stripes[:, ::3] = 255
    whole = read_whole(SlideCanvas(ImageReader(stripes, 0.25), 0.75))
    assert whole.shape == (20, 30, 3) and (whole == 85).all()


def test_coarsest_level_that_is_fine_enough_is_read(tmp_path):
    pytest.importorskip('openslide')
    reader = open_slide(write_slide(tmp_path / 'a.tif', IMAGE, levels=3))
    levels = []
    read = reader.read

    def spy(level: int, *rectangle: int) -> np.ndarray:
        levels.append(level)
        return read(level, *rectangle)

    reader.read = spy
    for mpp in (0.25, 0.5, 0.9, 1, 1.9, 2, 4):
        SlideCanvas(reader, mpp).read(0, 0, 8, 8)
    assert levels == [0, 0, 0, 1, 1, 2, 2]


def test_tiny_image_keeps_one_pixel():
    assert read_whole(SlideCanvas(ImageReader(IMAGE[:3, :3], 0.25), 8)).shape == (
        1, 1, 3)


def test_unknown_size_of_pixels_is_refused_with_the_fix():
    with pytest.raises(ValueError, match=r'array: the size of its pixels is not known; '
                                         r'give it with --mpp'):
        SlideCanvas(ImageReader(IMAGE), 0.25)


@pytest.mark.parametrize(('objective', 'usual'), [(20, 0.5), (40, 0.25), (63, 0.159)])
def test_objective_that_a_file_states_is_quoted(objective, usual):
    reader = ImageReader(IMAGE)
    reader.objective = objective
    with pytest.raises(ValueError, match=(
            f'array: .*states a {objective}x objective, usually {usual} µm/px; give '
            f'--mpp {usual}')):
        SlideCanvas(reader, 0.25)


def draw(height: int, width: int, color=GLASS) -> np.ndarray:
    """Noisy RGB image of one colour."""
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(noise + color, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(('color', 'fraction'), [(PINK, 1), (GLASS, 0)])
def test_view_of_tissue_or_of_glass_alone(color, fraction):
    assert find_tissue(draw(80, 90, color), 8).mean() == fraction


def test_tissue_has_a_margin_and_no_dust_or_small_holes():
    image = draw(200, 200)
    image[60:120, 50:100] = draw(60, 50, PINK)
    image[80:84, 70:74] = GLASS
    image[180:182, 180:182] = PINK
    tissue = find_tissue(image, 8)
    assert tissue[60:120, 50:100].all() and not tissue[150:].any()
    rows, cols = np.flatnonzero(tissue.any(1)), np.flatnonzero(tissue.any(0))
    # 50 µm are 7 px of 8 µm; blurring may add one.
    assert rows[0] in (52, 53) and rows[-1] in (126, 127)
    assert cols[0] in (42, 43) and cols[-1] in (106, 107)


def test_large_hole_stays():
    image = draw(200, 200, PINK)
    image[50:150, 50:150] = draw(100, 100)
    assert not find_tissue(image, 8)[70:130, 70:130].any()


def test_rectangles_are_given_in_px_of_level_0():
    image = draw(1600, 3200)
    image[:, 2000:2800] = draw(1600, 800, PINK)
    mask = TissueMask(ImageReader(image, mpp=0.5))
    assert mask.mask.shape == (100, 200)
    assert mask.fraction == pytest.approx(0.25 + 2 * 7 / 200, abs=0.011)
    assert mask.covers(1900, 0, 100, 10) and mask.covers(0, 1000, 3200, 1)
    assert mask.covers(2795, 1500, 10, 10)
    assert not mask.covers(0, 0, 1800, 1600) and not mask.covers(3000, 0, 200, 1600)
    assert not mask.covers(2400, -100, 100, 50) and not mask.covers(2400, 1700, 9, 9)


def test_real_tissue_is_kept(shared_dir):
    """All but fat, whose threads are thinner than a pixel of 8 µm."""
    found = []
    for number in (1, 5, 10, 20):
        folder = shared_dir / 'data/CoNSeP/Train'
        mask = TissueMask(open_slide(folder / f'Images/train_{number}.png', mpp=0.275))
        nuclei = loadmat(folder / f'Labels/train_{number}.mat')['inst_centroid']
        found += [mask.covers(x, y, 1, 1) for x, y in nuclei]
    assert np.mean(found) > 0.95


@pytest.mark.parametrize(('name', 'low', 'high'), [
    ('CMU-1-Small-Region.svs', 0.45, 0.65),
    ('tcga-cr-7395-01a-01-ts1.svs', 0.7, 0.9)])
def test_real_glass_is_left_out(shared_dir, name, low, high):
    pytest.importorskip('openslide')
    reader = open_slide(shared_dir / 'data/wsi' / name, mpp=0.4)
    assert low < TissueMask(reader).fraction < high
