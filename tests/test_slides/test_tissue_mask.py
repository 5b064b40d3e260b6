# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from scipy.io import loadmat

from mmseg_cellvta.slides import PictureReader, TissueMask, open_slide
from mmseg_cellvta.slides.canvas import find_tissue

PINK, GLASS = (215, 130, 180), (240, 240, 242)


def draw(height: int, width: int, color=GLASS) -> np.ndarray:
    """Noisy RGB picture of one colour."""
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(noise + color, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(('color', 'fraction'), [(PINK, 1), (GLASS, 0)])
def test_view_of_tissue_or_of_glass_alone(color, fraction):
    assert find_tissue(draw(80, 90, color), 8).mean() == fraction


def test_tissue_has_a_margin_and_no_dust_or_small_holes():
    picture = draw(200, 200)
    picture[60:120, 50:100] = draw(60, 50, PINK)
    picture[80:84, 70:74] = GLASS
    picture[180:182, 180:182] = PINK
    tissue = find_tissue(picture, 8)
    assert tissue[60:120, 50:100].all() and not tissue[150:].any()
    rows, cols = np.flatnonzero(tissue.any(1)), np.flatnonzero(tissue.any(0))
    # 50 µm are 7 px of 8 µm; blurring may add one.
    assert rows[0] in (52, 53) and rows[-1] in (126, 127)
    assert cols[0] in (42, 43) and cols[-1] in (106, 107)


def test_large_hole_stays():
    picture = draw(200, 200, PINK)
    picture[50:150, 50:150] = draw(100, 100)
    assert not find_tissue(picture, 8)[70:130, 70:130].any()


def test_rectangles_are_given_in_px_of_level_0():
    picture = draw(1600, 3200)
    picture[:, 2000:2800] = draw(1600, 800, PINK)
    mask = TissueMask(PictureReader(picture, mpp=0.5))
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
