# Copyright (c) CellVTA-MMSeg contributors.
"""Checkpoints with CellViT's names and shapes, but few channels, are converted."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmseg.apis import init_model
from mmseg.registry import MODELS
from run_tool import run_script
from torch.nn import functional as F

from mmseg_cellvta.datasets import PanNukeCellDataset

ROOT = Path(__file__).resolve().parents[2]
D = 32  # channels of the encoder
SAM = dict(path=(4, 8, 16, 32, 16, 32), tissue=256)
# As CellViT narrows its decoders over ViT-256: 1/8, then 1/4 and 1/8 on the way.
VIT256 = dict(path=(4, 8, 16, 20, 8, 12), tissue=D)


def conv_bn(name, cin, cout):
    """Names and shapes of a Conv2DBlock."""
    return {f'{name}.0.weight': (cout, cin, 3, 3), f'{name}.0.bias': (cout, ),
            **{f'{name}.1.{k}': (cout, ) for k in
               ('weight', 'bias', 'running_mean', 'running_var')},
            f'{name}.1.num_batches_tracked': ()}


def up(name, cin, cout):
    return {f'{name}.weight': (cin, cout, 2, 2), f'{name}.bias': (cout, )}


def up_conv_bn(name, cin, cout):
    """Names and shapes of a Deconv2DBlock."""
    block = {key.replace('.block.1', '.block.2').replace('.block.0', '.block.1'): shape
             for key, shape in conv_bn(f'{name}.block', cout, cout).items()}
    return {**up(f'{name}.block.0', cin, cout), **block}


def decoders(path, tissue, tissue_name):
    c1, c2, c4, c8, p4, p8 = path
    table = {**conv_bn('decoder0.0.block', 3, c1 // 2),
             **conv_bn('decoder0.1.block', c1 // 2, c1)}
    steps = {'decoder1': (D, p8, p4, c2), 'decoder2': (D, p8, c4), 'decoder3': (D, c8)}
    for name, widths in steps.items():
        for i, (cin, cout) in enumerate(zip(widths, widths[1:], strict=False)):
            table |= up_conv_bn(f'{name}.{i}', cin, cout)
    for name, maps in (('nuclei_binary_map_decoder', 2), ('hv_map_decoder', 2),
                       ('nuclei_type_maps_decoder', 6)):
        table |= up(f'{name}.bottleneck_upsampler', D, c8)
        for module, width, blocks, after in (
                ('decoder3_upsampler', c8, 3, c4), ('decoder2_upsampler', c4, 2, c2),
                ('decoder1_upsampler', c2, 2, c1), ('decoder0_header', c1, 2, None)):
            for i in range(blocks):
                table |= conv_bn(f'{name}.{module}.{i}.block',
                                 width if i else 2 * width, width)
            if after:
                table |= up(f'{name}.{module}.{blocks}', width, after)
        table |= {f'{name}.decoder0_header.2.weight': (maps, c1, 1, 1),
                  f'{name}.decoder0_header.2.bias': (maps, )}
    return table | {f'{tissue_name}.weight': (19, tissue),
                    f'{tissue_name}.bias': (19, )}


def blocks(lin1, lin2):
    table = {}
    for i in range(4):
        for name, shape in (
                ('norm1', (D, )), ('norm2', (D, )), ('attn.qkv', (3 * D, D)),
                ('attn.proj', (D, D)), (lin1, (4 * D, D)), (lin2, (D, 4 * D))):
            table[f'encoder.blocks.{i}.{name}.weight'] = shape
            table[f'encoder.blocks.{i}.{name}.bias'] = shape[:1]
    return table | {'encoder.patch_embed.proj.weight': (D, 3, 16, 16),
                    'encoder.patch_embed.proj.bias': (D, )}


def sam_table():
    table = blocks('mlp.lin1', 'mlp.lin2') | {'encoder.pos_embed': (1, 64, 64, D)}
    for i in range(4):
        length = 127 if i == 2 else 27  # block 2 sees all, the others 14 x 14 windows
        for axis in 'hw':
            table[f'encoder.blocks.{i}.attn.rel_pos_{axis}'] = (length, D // 2)
    table |= {'encoder.neck.0.weight': (256, D, 1, 1),
              'encoder.neck.2.weight': (256, 256, 3, 3)}
    for i in (1, 3):
        table |= {f'encoder.neck.{i}.weight': (256, ),
                  f'encoder.neck.{i}.bias': (256, )}
    return table | decoders(**SAM, tissue_name='classifier_head')


def vit256_table():
    return blocks('mlp.fc1', 'mlp.fc2') | {
        'encoder.cls_token': (1, 1, D), 'encoder.pos_embed': (1, 197, D),
        'encoder.norm.weight': (D, ), 'encoder.norm.bias': (D, )
    } | decoders(**VIT256, tissue_name='encoder.head')


def fill(table):
    torch.manual_seed(3)
    return {key: torch.tensor(7) if not shape else 0.1 + torch.rand(shape) if
            'running_var' in key else 0.2 * torch.randn(shape)
            for key, shape in table.items()}


def small_config(name):
    cfg = Config.fromfile(ROOT / f'configs/baselines/{name}_pannuke.py')
    cfg.model.decode_head.channels = 4
    cfg.model.backbone.encoder.update(
        weights=None, embed_dim=D, depth=4, num_heads=2)
    if name == 'cellvit_256':
        cfg.model.decode_head.update(bottleneck_channels=20, path_channels=(8, 12))
    return cfg


def build(name):
    return MODELS.build(small_config(name).model).eval()


@pytest.fixture
def convert(tmp_path):
    def run(state, **extra):
        torch.save(dict(model_state_dict=state, **extra), tmp_path / 'theirs.pth')
        run_script('model_converters/cellvit_to_mmseg.py', tmp_path / 'theirs.pth',
                   tmp_path / 'ours.pth')
        return str(tmp_path / 'ours.pth')

    return run


@pytest.mark.parametrize(('name', 'table'), [
    ('cellvit_sam_b', sam_table()), ('cellvit_256', vit256_table())])
def test_every_name_and_value_fits_the_config(convert, name, table):
    state, model = fill(table), build(name)
    path = convert(state, arch='CellViT', config={'data.num_tissue': 19})
    load_checkpoint(model, path, map_location='cpu', strict=True)
    ours = torch.load(path, weights_only=True)['state_dict']
    assert len(ours) == len(state)
    assert all(torch.equal(a, b) for a, b in
               zip(ours.values(), state.values(), strict=True))


@pytest.mark.parametrize(('name', 'table'), [
    ('cellvit_sam_b', sam_table()), ('cellvit_256', vit256_table())])
def test_the_stock_function_takes_the_converted_file(convert, name, table):
    model = init_model(small_config(name), convert(fill(table)), device='cpu')
    assert model.dataset_meta['classes'] == PanNukeCellDataset.METAINFO['classes']
    assert model.dataset_meta['palette'] == PanNukeCellDataset.METAINFO['palette']


def block(state, name, x):
    """Conv2DBlock, written out."""
    x = F.conv2d(x, state[f'{name}.0.weight'], state[f'{name}.0.bias'], padding=1)
    return F.relu(F.batch_norm(x, *(state[f'{name}.1.{k}'] for k in (
        'running_mean', 'running_var', 'weight', 'bias'))))


def enlarge(state, name, x):
    return F.conv_transpose2d(
        x, state[f'{name}.weight'], state[f'{name}.bias'], stride=2)


def skip(state, name, x, steps):
    for i in range(steps):
        x = enlarge(state, f'{name}.{i}.block.0', x)
        shifted = {key.replace('.block.1', '.block.0').replace('.block.2', '.block.1'):
                   value for key, value in state.items() if f'{name}.{i}.block' in key
                   and '.block.0' not in key}
        x = block(shifted, f'{name}.{i}.block', x)
    return x


def test_a_branch_computes_what_its_formula_says(convert):
    state, model = fill(sam_table()), build('cellvit_sam_b')
    load_checkpoint(model, convert(state), map_location='cpu', strict=True)
    image = torch.randn(1, 3, 32, 48)
    maps = [torch.randn(1, D, 2, 3) for _ in range(4)]
    skips = [skip(state, f'decoder{n}', maps[n - 1], 4 - n) for n in (1, 2, 3)]
    skips.insert(0, block(state, 'decoder0.1.block',
                          block(state, 'decoder0.0.block', image)))
    name = 'hv_map_decoder'
    x = enlarge(state, f'{name}.bottleneck_upsampler', maps[3])
    for level, blocks_ in ((3, 3), (2, 2), (1, 2)):
        x = torch.cat([skips[level], x], dim=1)
        for i in range(blocks_):
            x = block(state, f'{name}.decoder{level}_upsampler.{i}.block', x)
        x = enlarge(state, f'{name}.decoder{level}_upsampler.{blocks_}', x)
    x = torch.cat([skips[0], x], dim=1)
    for i in range(2):
        x = block(state, f'{name}.decoder0_header.{i}.block', x)
    expected = F.conv2d(x, state[f'{name}.decoder0_header.2.weight'],
                        state[f'{name}.decoder0_header.2.bias'])
    with torch.no_grad():
        found = model.decode_head([image, *maps, torch.zeros(1, 256)])['hv']
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(('key', 'message'), [
    ('layer4.conv.weight', 'encoder.patch_embed.*missing: expected CellViT-256'),
    ('encoder.patch_embed.proj.weight', 'decoder1.2.*missing')])
def test_other_models_are_refused_and_nothing_is_written(
        convert, tmp_path, key, message):
    with pytest.raises(SystemExit, match=f'theirs.pth: {message}'):
        convert({key: torch.rand(1)})
    assert not (tmp_path / 'ours.pth').exists()


def test_the_config_for_the_width_is_printed(convert, capsys):
    convert(fill(vit256_table()))
    assert 'an encoder of 32 channels' in capsys.readouterr().out
