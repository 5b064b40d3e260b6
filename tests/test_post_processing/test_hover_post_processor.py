# Copyright (c) CellVTA-MMSeg contributors.
import copy
import os
import pickle

import numpy as np
import pytest
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS

from mmseg_cellvta.post_processing import HoverPostProcessor
from mmseg_cellvta.post_processing.hover_post_processor import WorkerPool
from mmseg_cellvta.post_processing.instance_map import hover_constants

DISCS = [(20, 20, 9), (70, 30, 13), (85, 40, 11)]


@pytest.fixture
def maps(draw_discs, perfect_maps):
    return perfect_maps(draw_discs((64, 128), DISCS), [2, 1, 3], 4)


def assert_same(left, right):
    np.testing.assert_array_equal(left[0], right[0])
    assert sorted(left[1].keys()) == sorted(right[1].keys())
    for name, column in left[1].items():
        for row, expected in zip(column, right[1][name], strict=True):
            np.testing.assert_array_equal(row, expected)


def test_registry_builds_it():
    built = TASK_UTILS.build(dict(type='HoverPostProcessor', num_classes=7, mpp=0.5))
    assert isinstance(built, HoverPostProcessor)
    assert built.constants.sobel_ksize == 11


@pytest.mark.parametrize('dtype', [np.float32, np.float16])
def test_result_keeps_the_contract(maps, dtype):
    inst_map, instances = HoverPostProcessor(4)(*(m.astype(dtype) for m in maps))
    assert inst_map.dtype == np.int32 and inst_map.shape == (64, 128)
    assert isinstance(instances, InstanceData) and len(instances) == 3
    assert instances.labels.tolist() == [2, 1, 3]
    np.testing.assert_allclose(instances.centroids[0], (20, 20), atol=1e-4)
    np.testing.assert_allclose(
        instances.centroids[1:], [d[:2] for d in DISCS[1:]], atol=3)
    assert instances.class_probs.shape == (3, 4) and len(instances.contours) == 3
    assert len(instances[instances.scores > 2]) == 0


def test_background_only_gives_no_instances(maps):
    inst_map, instances = HoverPostProcessor(4)(maps[0][::-1] * 0, *maps[1:])
    assert not inst_map.any() and len(instances) == 0
    assert instances.centroids.shape == (0, 2) and instances.bboxes.shape == (0, 4)


@pytest.mark.parametrize(('markers', 'labels'), [
    ('hovernet', [2, 3]), ('rising', [2, 1, 3])])
def test_only_published_markers_let_the_classes_veto_a_nucleus(
        draw_discs, perfect_maps, markers, labels):
    discs = [(20, 20, 9), (70, 20, 9), (100, 44, 11)]
    np_map, hv_map, nc_map = perfect_maps(draw_discs((64, 128), discs), [2, 1, 3], 4)
    nc_map[0, :, 50:85] = 2  # more than any class of the second disc
    _, instances = HoverPostProcessor(4, markers=markers)(np_map, hv_map, nc_map)
    assert instances.labels.tolist() == labels


@pytest.mark.parametrize('index', range(3))
@pytest.mark.parametrize('fault', [np.nan, np.inf, 'shape'])
def test_a_wrong_map_is_named(maps, index, fault):
    maps = [m.copy() for m in maps]
    name = ('np', 'hv', 'nc')[index]
    if fault == 'shape':
        maps[index] = maps[index][1:]
        message = rf'{name} map: shape .*, expected \({len(maps[index]) + 1}, 64'
    else:
        maps[index][0, 3, 4] = fault
        message = f'{name} map: contains NaN or infinite'
    with pytest.raises(ValueError, match=message):
        HoverPostProcessor(4)(*maps)


@pytest.mark.parametrize(('argument', 'message'), [
    (dict(num_classes=1), 'num_classes=1'), (dict(num_workers=-1), 'num_workers=-1'),
    (dict(enlarge=0), 'enlarge=0'), (dict(mpp=0), 'mpp=0.*µm/px above 0'),
    (dict(mpp=-0.25), 'mpp'), (dict(mpp=float('nan')), 'mpp'),
    (dict(mpp=float('inf')), 'mpp'),
    (dict(markers='deep'), "markers='deep'.*hovernet.*rising"),
    (dict(min_confidence=-0.1), 'min_confidence=-0.1.*0 to 1'),
    (dict(min_confidence=80), 'min_confidence=80')])
def test_impossible_arguments_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        HoverPostProcessor(**{'num_classes': 4, **argument})


def test_worker_processes_give_the_same_in_the_same_order(maps):
    batch = [maps, tuple(m[:, :32] for m in maps), tuple(m[:, :, ::-1] for m in maps)]
    here = HoverPostProcessor(4)
    workers = HoverPostProcessor(4, num_workers=2)
    for _ in range(2):
        results = workers.process_batch(batch, [m[0].shape[1:] for m in batch])
        for result, image_maps in zip(results, batch, strict=True):
            assert_same(result, here(*image_maps))


@pytest.mark.parametrize('duplicate', [
    copy.deepcopy, lambda processor: pickle.loads(pickle.dumps(processor))])
def test_copies_of_a_running_processor_work(maps, duplicate):
    processor = HoverPostProcessor(4, num_workers=1)
    shapes = [(64, 128)] * 2
    first, _ = processor.process_batch([maps, maps], shapes)
    twin = duplicate(processor)
    assert (twin.mpp, twin.constants) == (processor.mpp, processor.constants)
    assert_same(first, twin.process_batch([maps, maps], shapes)[1])


def test_batch_comes_back_on_the_grids_of_its_images(maps):
    processor = HoverPostProcessor(4)
    shapes = [(64, 128), (128, 256)]
    same, large = processor.process_batch([maps, maps], shapes)
    assert_same(same, processor(*maps))
    np.testing.assert_array_equal(large[0], np.kron(same[0], np.ones((2, 2))))
    assert large[1].labels.tolist() == [2, 1, 3]


def test_enlarged_maps_give_rounder_outlines(draw_discs, perfect_maps):
    fine = draw_discs((128, 256), [(40, 40, 18), (140, 60, 26)])
    maps = perfect_maps(fine, [2, 1], 4)
    coarse = [m.reshape(len(m), 64, 2, 128, 2).mean((2, 4)).astype(np.float16)
              for m in maps]
    wrong = []
    for enlarge in (1, 2):
        processor = HoverPostProcessor(4, mpp=0.5, enlarge=enlarge)
        assert processor.constants == hover_constants(0.5 / enlarge)
        (inst_map, instances), = processor.process_batch([coarse], [fine.shape])
        assert inst_map.shape == fine.shape and instances.labels.tolist() == [2, 1]
        wrong.append((inst_map != fine).sum())
    assert wrong[1] < 0.7 * wrong[0]


@pytest.mark.parametrize(('name', 'mpp'), [
    ('post_256_40x', 0.25), ('post_256_20x', 0.5), ('post_192x320_40x', 0.25)])
def test_equals_released_code(name, mpp, shared_dir):
    golden = np.load(shared_dir / 'golden' / f'{name}.npz')
    processor = HoverPostProcessor(int(golden['num_classes']), mpp)
    inst_map, instances = processor(
        golden['prob_np'], golden['hv'], golden['prob_tp'])
    np.testing.assert_array_equal(inst_map, golden['pred_inst'])
    np.testing.assert_array_equal(instances.labels, golden['pred_types'])
    np.testing.assert_allclose(
        instances.centroids, golden['pred_centroids'], atol=1e-4)


def process_id(_):
    return os.getpid()


@pytest.mark.parametrize(('num_workers', 'num_jobs'), [(0, 2), (2, 1), (2, 0)])
def test_without_workers_or_for_a_single_job_this_process_works(num_workers, num_jobs):
    pool = WorkerPool(num_workers)
    assert pool.starmap(process_id, [(0,)] * num_jobs) == [os.getpid()] * num_jobs


def test_workers_are_kept():
    pool = WorkerPool(1)
    first = pool.starmap(process_id, [(0,), (1,)])
    assert os.getpid() not in first
    assert pool.starmap(process_id, [(0,), (1,)]) == first


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_submitted_call_gives_its_result_later(num_workers):
    pool = WorkerPool(num_workers)
    assert pool.submit(divmod, 9, 4).result() == (2, 1)
    assert (pool.submit(process_id, 0).result() == os.getpid()) == (num_workers == 0)
