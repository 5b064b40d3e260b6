# Copyright (c) CellVTA-MMSeg contributors.
import csv
import json

import numpy as np
import pytest
from run_tool import run_tool
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
        'conversion.json', 'counts.csv', 'images.npy', 'labels.npy', 'patch_info.csv',
        'test_sources.json']
    images, labels = np.load(out / 'images.npy'), np.load(out / 'labels.npy')
    assert (images.dtype, images.shape) == (np.uint8, (40, 256, 256, 3))
    assert (labels.dtype, labels.shape) == (np.uint16, (40, 256, 256, 2))
    assert not out.with_name('set.part').exists()


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


def nuclei_of_classes(patch):
    pairs = np.unique(patch[patch[..., 0] > 0], axis=0)
    return np.bincount(pairs[:, 1], minlength=7)[1:].tolist()


def test_ids_have_no_gaps_and_nuclei_in_the_margin_do_not_count(written):
    out, counts = written
    with open(out / 'counts.csv') as file:
        header, *central = csv.reader(file)
    assert header == list(syn.CLASSES)
    labels = np.load(out / 'labels.npy')
    for patch, count, inner in zip(labels, counts, central, strict=True):
        ids = np.unique(patch[..., 0])
        assert ids.tolist() == list(range(len(ids)))
        assert ((patch[..., 0] > 0) == (patch[..., 1] > 0)).all()
        assert nuclei_of_classes(patch) == count.tolist()
        assert nuclei_of_classes(patch[16:-16, 16:-16]) == list(map(int, inner))


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


def test_too_few_images_for_two_splits_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='num_images=10: expected at least 20'):
        syn.write_synthetic_conic(str(tmp_path / 'set'), 10)


def test_an_interrupted_run_leaves_no_folder_and_can_be_repeated(tmp_path, capsys):

    def stop():
        raise KeyboardInterrupt

    out = tmp_path / 'set'
    with pytest.raises(KeyboardInterrupt):
        syn.write_synthetic_conic(str(out), 20, 0, stop)
    assert not out.exists()
    tool = 'dataset_converters/synthetic_conic.py'
    assert run_tool(tool, out, '--num-images', 20) == 0
    printed = capsys.readouterr().out
    assert 'eosinophil' in printed and 'nuclei per image' in printed
    assert run_tool(tool, out) == 2
    assert 'set: exists already' in capsys.readouterr().err
    assert run_tool(tool, tmp_path / 'other', '--num-images', 19) == 2
    assert 'expected at least 20' in capsys.readouterr().err
