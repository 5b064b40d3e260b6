# Copyright (c) CellVTA-MMSeg contributors.
import ast
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from run_tool import run_script

from mmseg_cellvta.datasets import CoNICDataset, PanNukeCellDataset

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
# The weights that every complete checkpoint has.
STATE = {
    key: torch.rand(2)
    for key in ('encoder.patch_embed.proj.weight', 'encoder.spm.stem.0.weight',
                'nuclei_type_maps_decoder.decoder0_header.2.weight')
}


@pytest.fixture
def convert():
    return partial(run_script, 'model_converters/cellvta_to_mmseg.py')


def test_weights_are_renamed_into_a_new_folder(convert, tmp_path):
    torch.save(dict(model_state_dict=STATE), tmp_path / 'src.pth')
    convert(tmp_path / 'src.pth', tmp_path / 'out/dst.pth')
    state = torch.load(tmp_path / 'out/dst.pth', weights_only=True)['state_dict']
    assert set(state) == {
        'backbone.encoder.vit.patch_embed.proj.weight',
        'backbone.spatial_prior.stem.0.weight',
        'decode_head.branches.nc.levels.3.2.weight'
    }


@pytest.mark.parametrize(('name', 'classes', 'tissues'), [
    ('conic', 7, 1), ('pannuke', 6, 19)])
def test_each_released_config_is_converted_back_and_forth(
        convert, tmp_path, shared_dir, name, classes, tissues):
    """Names of the full model, its values replaced by their shapes."""
    cfg = Config.fromfile(CONFIGS / f'cellvta_uni_{name}_released.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    ours = {key: torch.tensor(value.shape, dtype=torch.int64)
            for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=ours), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'theirs.pth', '--reverse')
    theirs = torch.load(tmp_path / 'theirs.pth')['model_state_dict']
    published = (shared_dir / 'docs/cellvta_state_dict_keys_conic.tsv').read_text()
    shapes = {key: list(ast.literal_eval(shape)) for key, shape, *_ in (
        line.split('\t') for line in published.splitlines())}
    for part in ('weight', 'bias'):  # all that depends on the data set
        shapes[f'nuclei_type_maps_decoder.decoder0_header.2.{part}'][0] = classes
        shapes[f'encoder.head.{part}'][0] = tissues
    assert {key: value.tolist() for key, value in theirs.items()} == shapes
    convert(tmp_path / 'theirs.pth', tmp_path / 'back.pth')
    back = torch.load(tmp_path / 'back.pth')['state_dict']
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[key], value) for key, value in ours.items())


@pytest.mark.parametrize('classes, tissues, dataset', [
    (7, 1, CoNICDataset), (6, 19, PanNukeCellDataset), (6, 3, None), (4, None, None)])
def test_meta_names_the_classes_of_a_published_model(
        convert, tmp_path, classes, tissues, dataset):
    state = dict(STATE)
    state['nuclei_type_maps_decoder.decoder0_header.2.weight'] = torch.rand(classes, 1)
    if tissues:
        state['encoder.head.weight'] = torch.rand(tissues, 1)
    torch.save(dict(model_state_dict=state), tmp_path / 'src.pth')
    convert(tmp_path / 'src.pth', tmp_path / 'dst.pth')
    meta = torch.load(tmp_path / 'dst.pth', weights_only=True)['meta']
    expected = {} if dataset is None else dict(dataset_meta=dataset.METAINFO)
    assert meta == expected


@pytest.mark.parametrize(('state', 'arguments', 'message'), [
    ({'layer4.0.conv1.weight': torch.rand(1)}, (), 'patch_embed.* is missing: expected '
     'a complete CellVTA'),
    # The fingerprint of a frozen encoder stands in for its weights.
    ({'backbone.encoder.fingerprint': torch.rand(1)}, ('--reverse', ),
     'vit.patch_embed.* is missing.*saved without the frozen encoder'),
    ({**STATE, 'layer4.0.conv1.weight': torch.rand(1)}, (),
     'layer4.0.conv1.weight: no such weight in a CellVTA'),
    (dict(STATE, config=Path('x')), (), 'holds pathlib.* besides tensors.*--trust'),
])
def test_other_weights_are_refused_and_nothing_is_written(
        convert, tmp_path, state, arguments, message):
    torch.save(state, tmp_path / 'src.pth')
    with pytest.raises(SystemExit, match=f'src.pth: .*{message}'):
        convert(tmp_path / 'src.pth', tmp_path / 'dst.pth', *arguments)
    assert not (tmp_path / 'dst.pth').exists()


def test_objects_are_read_with_trust(convert, tmp_path):
    torch.save(dict(model_state_dict=STATE, config=Path('x')), tmp_path / 'src.pth')
    convert(tmp_path / 'src.pth', tmp_path / 'dst.pth', '--trust')
    assert len(torch.load(tmp_path / 'dst.pth')['state_dict']) == len(STATE)


@pytest.mark.parametrize('tool', ['cellvta_to_mmseg', 'cellvit_to_mmseg'])
def test_a_missing_file_is_named(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_script(f'model_converters/{tool}.py', tmp_path / 'none.pth', 'dst.pth')
    assert 'none.pth: no such file' in capsys.readouterr().err
