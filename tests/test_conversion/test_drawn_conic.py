# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from mmseg_cellvta.conversion import drawn_conic as syn
from mmseg_cellvta.datasets import CoNICDataset


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp('synthetic') / 'set'
    calls = []
    counts = syn.write_synthetic_conic(str(out), 40, 1, lambda: calls.append(1))
    assert len(calls) == 40
    return out, counts


def test_files_are_conics(written):
    out, _ = written
    assert sorted(path.name for path in out.iterdir()) == [
        'counts.csv', 'images.npy', 'labels.npy', 'patch_info.csv', 'test_sources.json']
    images, labels = np.load(out / 'images.npy'), np.load(out / 'labels.npy')
    assert (images.dtype, images.shape) == (np.uint8, (40, 256, 256, 3))
    assert (labels.dtype, labels.shape) == (np.uint16, (40, 256, 256, 2))
    with open(out / 'counts.csv') as file:
        header, *rows = csv.reader(file)
    assert header == list(syn.CLASSES) and len(rows) == 40
    assert not out.with_name('set.partial').exists()


def test_dataset_reads_it_and_splits_share_no_source(written):
    out, _ = written
    kwargs = dict(data_root=str(out), sources_file='test_sources.json')
    names = {}
    for split in ('train', 'test'):
        dataset = CoNICDataset(split=split, **kwargs)
        names[split] = {dataset.get_data_info(i)['sample_name'].split('-')[0]
                        for i in range(len(dataset))}
    assert len(names['train']) == 3 and len(names['test']) == 1
    assert not names['train'] & names['test']
    content = json.loads((out / 'test_sources.json').read_text())
    assert content['n_patches'] == 10 and set(content['sources']) == names['test']


def test_ids_have_no_gaps_and_counts_follow_them(written):
    out, counts = written
    labels = np.load(out / 'labels.npy')
    with open(out / 'counts.csv') as file:
        central = [list(map(int, row)) for row in list(csv.reader(file))[1:]]
    for patch, count, inner in zip(labels, counts, central, strict=True):
        ids = np.unique(patch[..., 0])
        assert ids.tolist() == list(range(len(ids)))
        assert sum(count) == len(ids) - 1
        assert all(a <= b for a, b in zip(inner, count, strict=True))
        assert ((patch[..., 0] > 0) == (patch[..., 1] > 0)).all()


def test_nuclei_touch_and_most_are_in_one_piece(written):
    inst_map = np.load(written[0] / 'labels.npy')[..., 0].astype(int)
    left, right = inst_map[:, :, :-1], inst_map[:, :, 1:]
    touching = (left != right) & (left > 0) & (right > 0)
    assert touching.any((1, 2)).mean() > 0.8
    patch = inst_map[0]
    pieces = [label(patch == i)[1] for i in range(1, patch.max() + 1)]
    assert np.mean(np.array(pieces) == 1) > 0.95


def test_classes_are_as_unbalanced_as_conics(written):
    total = np.sum(written[1], axis=0)
    share = total / total.sum()
    conic = np.array([5082, 282082, 120933, 31965, 3849, 125950]) / 569861
    assert np.abs(share - conic).max() < 0.12
    assert 60 < total.sum() / 40 < 140
    assert (total > 0).all()


def test_nuclei_are_darker_than_their_surroundings(written):
    images = np.load(written[0] / 'images.npy')
    labels = np.load(written[0] / 'labels.npy')
    red = images[..., 0].astype(float)  # hematoxylin absorbs red, eosin hardly
    around = red[labels[..., 1] == 0].mean()
    for class_id in range(1, 7):
        assert red[labels[..., 1] == class_id].mean() < around - 50


def test_same_number_and_seed_give_the_same_patch():
    first, again = (syn.draw_numbered_patch(7, 3) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (syn.draw_numbered_patch(7, 4)[0] != first[0]).any()


def test_patches_of_one_source_share_their_staining():
    styles = [syn.draw_staining(np.random.default_rng([0, 0, source]))
              for source in (0, 0, 1)]
    np.testing.assert_array_equal(styles[0].vectors, styles[1].vectors)
    assert (styles[0].vectors != styles[2].vectors).any()
    np.testing.assert_allclose(np.linalg.norm(styles[0].vectors, axis=1), 1)


@pytest.mark.parametrize(('x', 'y', 'canvas', 'part'), [
    (100, 50, (slice(47, 54), slice(97, 104)), (slice(0, 7), slice(0, 7))),
    (0, 255, (slice(252, 256), slice(0, 4)), (slice(0, 4), slice(3, 7))),
])
def test_window_is_clipped_at_the_border(x, y, canvas, part):
    assert syn.clip_window(x, y, 3) == (canvas, part)


def test_window_beyond_the_border_is_empty():
    canvas, part = syn.clip_window(-10, 300, 3)
    grid = np.zeros((256, 256))
    assert grid[canvas].size == 0 and grid[:7, :7][part].size == 0


def test_nuclei_in_the_margin_are_not_counted():
    labels = np.zeros((256, 256, 2), np.uint16)
    labels[2:6, 2:6] = 1, 3
    labels[100:110, 100:110] = 2, 6
    assert syn.count_nuclei(labels) == [0, 0, 1, 0, 0, 1]
    assert syn.count_nuclei(labels, margin=16) == [0, 0, 0, 0, 0, 1]


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / 'note.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='is there already'):
        syn.write_synthetic_conic(str(tmp_path), 20)
    assert (tmp_path / 'note.txt').read_text() == 'mine'


def test_too_few_images_for_two_splits_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='num_images=10: expected at least 20'):
        syn.write_synthetic_conic(str(tmp_path / 'set'), 10)


def test_interrupted_run_leaves_no_folder(tmp_path):

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        syn.write_synthetic_conic(str(tmp_path / 'set'), 20, 0, stop)
    assert not (tmp_path / 'set').exists()


def test_tool_prints_its_table_and_refuses_an_existing_folder(
        tmp_path, monkeypatch, capsys):
    path = Path(__file__).parents[2] / 'tools/dataset_converters/synthetic_conic.py'
    main = runpy.run_path(str(path))['main']
    arguments = [str(path), str(tmp_path / 'set'), '--num-images', '20']
    monkeypatch.setattr(sys, 'argv', arguments)
    main()
    printed = capsys.readouterr().out
    assert 'eosinophil' in printed and 'nuclei per image' in printed
    with pytest.raises(SystemExit, match='is there already'):
        main()
