# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.structures import CellTable


def triangle(corner, size=4.0):
    x, y = corner
    return np.array([(x, y), (x + size, y), (x, y + size), (x, y)])


def make_table(num, seed=0):
    rng = np.random.default_rng(seed)
    centroids = rng.uniform(0, 1e5, (num, 2))
    probs = rng.dirichlet(np.ones(3), num).astype(np.float32)
    return CellTable(
        centroids=centroids,
        labels=rng.integers(1, 3, num),
        scores=probs.max(axis=1) if num else np.zeros(0, np.float32),
        class_probs=probs.reshape(num, 3),
        outlines=[triangle(c, rng.integers(1, 9)) for c in centroids],
        features=dict(area_um2=rng.uniform(5, 90, num).astype(np.float32)),
        embeddings=rng.normal(size=(num, 4)).astype(np.float16))


def assert_same(table, other):
    for name in ('centroids', 'labels', 'scores', 'class_probs', 'embeddings'):
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name))
        assert getattr(table, name).dtype == getattr(other, name).dtype
    for ring, same in zip(table.outlines, other.outlines, strict=True):
        np.testing.assert_array_equal(ring, same)
    assert table.features.keys() == other.features.keys()
    for name, column in table.features.items():
        np.testing.assert_array_equal(column, other.features[name])


@pytest.mark.parametrize('num', [0, 1, 7])
def test_a_saved_table_comes_back_and_leaves_no_other_file(tmp_path, num):
    table = make_table(num)
    table.save(tmp_path / 'band.npz')
    assert_same(CellTable.load(tmp_path / 'band.npz'), table)
    assert [path.name for path in tmp_path.iterdir()] == ['band.npz']


def test_equal_tables_make_equal_files(tmp_path):
    for name in ('a.npz', 'b.npz'):
        make_table(5).save(tmp_path / name)
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()


def test_parts_of_a_table_make_the_whole():
    table = make_table(6)
    head, tail = table.select(np.arange(6) < 2), table.select(np.array([2, 3, 4, 5]))
    assert (len(head), len(tail)) == (2, 4)
    assert_same(CellTable.concatenate([head, tail]), table)
    assert len(table.select(np.zeros(6, bool))) == 0


def test_without_embeddings_there_are_none_of_width_0():
    table = make_table(3)
    bare = CellTable(table.centroids, table.labels, table.scores, table.class_probs,
                     table.outlines)
    assert bare.embeddings.shape == (3, 0) and bare.features == {}


def test_columns_of_different_length_are_our_mistake():
    table = make_table(3)
    with pytest.raises(AssertionError):
        CellTable(table.centroids[:2], table.labels, table.scores, table.class_probs,
                  table.outlines)
