# Copyright (c) CellVTA-MMSeg contributors.
"""The slide that docs/images/make_images.py draws."""
import runpy
from pathlib import Path

import numpy as np
import pytest

from mmseg_cellvta.slides import open_slide

SCRIPT = Path(__file__).resolve().parents[1] / 'docs/images/make_images.py'


@pytest.fixture(scope='module')
def script():
    return runpy.run_path(str(SCRIPT))


def test_cores_of_tissue_lie_on_glass(script):
    slide = script['draw_slide']()
    assert slide.shape == (2048, 2048, 3) and slide.dtype == np.uint8
    green = slide[..., 1].astype(float)
    glass = green[:50].mean()
    core = green[100:270, 100:270].mean()  # of the first, 60 to 316 px
    assert glass > 230 and core < glass - 40
    assert green[330:460, 330:460].mean() == pytest.approx(glass, abs=1)


def test_the_slide_is_read_as_a_pyramid_of_half_a_micrometre(script, tmp_path):
    image = np.full((512, 768, 3), (200, 120, 180), np.uint8)
    script['write_slide'](tmp_path / 'slide.tif', image)
    reader = open_slide(tmp_path / 'slide.tif')
    assert reader.is_slide and reader.mpp == pytest.approx(0.5)
    assert reader.level_shapes == ((512, 768), (256, 384), (128, 192))
    assert (reader.read(2, 0, 0, 192, 128) == image[:128, :192]).all()
