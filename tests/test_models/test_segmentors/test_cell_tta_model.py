# Copyright (c) CellVTA-MMSeg contributors.
import torch
from tiny_models import SEGMENTOR, build, square_sample

from mmseg_cellvta.models import CellTTAModel

VIEWS = [None, 'horizontal', 'vertical']
FLIP_DIMS = dict(horizontal=2, vertical=1)


def views_of(picture):
    """What mmcv's TestTimeAug and pseudo_collate make of one picture."""
    inputs, samples = [], []
    for direction in VIEWS:
        flip = direction is not None
        view = picture.flip(FLIP_DIMS[direction]) if flip else picture
        inputs.append([view])
        samples.append([square_sample(flip=flip, flip_direction=direction)])
    return dict(inputs=inputs, data_samples=samples)


def test_maps_are_averaged_after_every_view_is_turned_back():
    model = CellTTAModel(build(SEGMENTOR)).eval()
    views = views_of(torch.randint(0, 255, (3, 64, 64)).float())
    seen = []
    model.module.postprocess_result = lambda maps, samples: seen.extend(maps)
    model.test_step(views)

    single = []
    for inputs, samples in zip(views['inputs'], views['data_samples'], strict=True):
        batch = model.module.data_preprocessor(
            dict(inputs=inputs, data_samples=samples), False)
        with torch.no_grad():
            single.append(model.module.predict_maps(**batch)[0])
    torch.testing.assert_close(seen[0], sum(single) / 3)


def test_the_mirror_image_of_a_picture_has_the_mirrored_maps():
    """With both views, it does not matter which of the two is called the picture."""
    model = CellTTAModel(build(SEGMENTOR)).eval()
    picture = torch.randint(0, 255, (3, 64, 64)).float()
    seen = []
    model.module.postprocess_result = lambda maps, samples: seen.extend(maps)
    for view in (picture, picture.flip(2)):
        views = views_of(view)
        model.test_step({key: value[:2] for key, value in views.items()})
    maps, of_mirror = seen
    mirrored = maps.flip(2)
    mirrored[2] *= -1
    torch.testing.assert_close(of_mirror, mirrored)


def test_the_sample_gets_nuclei_once():
    model = CellTTAModel(build(SEGMENTOR)).eval()
    result, = model.test_step(views_of(torch.zeros(3, 64, 64)))
    assert {'pred_inst_map', 'pred_sem_seg', 'pred_instances'} <= set(result.keys())
    assert result.sample_name == 'square'
