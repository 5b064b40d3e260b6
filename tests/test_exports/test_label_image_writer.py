# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import tifffile
from cell_tables import INFO, squares
from skimage.draw import polygon2mask

from mmseg_cellvta.exports import LabelImageWriter
from mmseg_cellvta.exports.writers import _inside


def test_pixels_are_ids_of_the_cells_around_them(tmp_path):
    with LabelImageWriter(tmp_path / 'labels.ome.tiff', INFO) as writer:
        writer.write(squares([(10, 20), (505, 507), (15, 25)]))
        writer.write(squares([(895, 695), (-5, -5)]))  # over the slide's borders
    expected = np.zeros(INFO.shape, np.uint32)
    expected[25:35, 15:25] = 3
    expected[20:30, 10:20] = 1  # the first one keeps what two share
    expected[507:517, 505:515], expected[695:, 895:], expected[:5, :5] = 2, 4, 5
    with tifffile.TiffFile(tmp_path / 'labels.ome.tiff') as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected)
        assert tiff.pages[0].is_tiled
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata


def test_a_ring_holds_the_pixels_that_scikit_image_finds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(4, 14, 12)[:, None]
        # Off the pixel centres, where both may decide as they like.
        ring = 16.03 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring = np.concatenate([ring, ring[:1]])
        expected = polygon2mask((32, 32), ring[:, ::-1] - 0.5)
        np.testing.assert_array_equal(_inside(ring, 32, 32), expected)
