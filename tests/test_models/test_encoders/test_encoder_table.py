# Copyright (c) CellVTA-MMSeg contributors.
"""Every encoder of the table, at its real width and depth, without its numbers."""
import contextlib
from pathlib import Path

import pytest
import timm
import torch
from mmseg.registry import MODELS

from mmseg_cellvta.models.encoders import TimmEncoder, find_encoder, read_encoder_table

DOCUMENT = Path(__file__).resolve().parents[3] / 'docs/encoders.md'
TABLE = read_encoder_table()
# Millions of parameters, and who says so.
PUBLISHED = {
    'UNI': 303.35,  # UNI's page
    'UNI2-h': 681.39,  # UNI2-h's page: 681 M
    'Virchow': 631.23,  # arXiv:2309.07778: 632 M
    'Virchow2': 631.24,  # arXiv:2408.00738: 632 M
    'H-optimus-0': 1134.77,  # H-optimus-0's page: 1.1 billion
    'Prov-GigaPath': 1134.95,  # doi 10.1038/s41586-024-07441-w: 1.13 billion
    'H0-mini': 85.74,  # H0-mini's page: 86 M
    'Hibou-B': 85.74,  # Hibou's pages: 85.7 M and 304 M
    'Hibou-L': 303.66,
    'OpenMidnight': 1134.77,  # as H-optimus-0
    'GigaPath-Flash': 21.68,  # arXiv:2607.18218: 22 M
    'DINOv2-S': 22.06,  # timm's pages, from here on
    'DINOv2-g': 1136.48,
    'DINOv3-L': 303.08,
    'DINOv3-H+': 840.51,
    'SAM-B': 89.67,
    'SAM-H': 637.03,
}
SAM_NECK = {'SAM-B': 787_456, 'SAM-H': 918_528}  # parameters, left out here


@pytest.fixture
def no_autocast(monkeypatch):
    """Without numbers there is no precision: the meta device knows no autocast."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs:
                        contextlib.nullcontext())


@pytest.fixture(scope='module', params=TABLE)
def model(request):
    with torch.device('meta'):
        return MODELS.build(dict(
            type='CellVTAAdapter', encoder=dict(name=request.param), conv_channels=8,
            injection_stages=(0, ), num_extra_extractors=0, deform_num_points=1))


def test_four_levels_at_real_width_and_depth(model, no_autocast):
    encoder = model.eval().encoder
    row = TABLE[encoder.name]
    for key in ('patch_size', 'embed_dims', 'num_blocks', 'num_prefix_tokens'):
        assert getattr(encoder, key) == row[key], key
    for height, width in ((256, 256), (224, 320)):
        levels = model(torch.empty(1, 3, height, width, device='meta'))
        assert [tuple(level.shape) for level in levels] == [
            (1, row['embed_dims'], height // stride, width // stride)
            for stride in (2, 4, 8, 16)
        ]


def test_a_step_of_training_leaves_the_encoder_as_it_is(model, no_autocast):
    """torch counts how often a tensor was written to, also where it has no numbers."""
    model.train()
    versions = {key: p._version for key, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    levels = model(torch.empty(1, 3, 64, 64, device='meta'))
    sum(level.sum() for level in levels).backward()
    optimizer.step()
    written = {key for key, p in model.named_parameters()
               if p._version != versions[key]}
    assert not any(key.startswith('encoder.') for key in written)
    assert any(key.startswith('interactions.0.injector') for key in written)


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    with torch.device('meta'):
        encoder = TimmEncoder(name)
    number = sum(p.numel() for p in encoder.parameters()) + SAM_NECK.get(name, 0)
    assert number / 1e6 == pytest.approx(PUBLISHED[name], abs=0.006)


@pytest.mark.parametrize('name', [n for n in TABLE if TABLE[n]['page'][:5] == 'timm/'])
def test_normalization_is_the_one_that_timm_states(name):
    entry = find_encoder(name)
    cfg = timm.models.get_pretrained_cfg(TABLE[name]['page'].removeprefix('timm/'))
    assert entry.mean == pytest.approx([255 * value for value in cfg.mean])
    assert entry.std == pytest.approx([255 * value for value in cfg.std])


@pytest.mark.parametrize('name, mean, std', [
    ('UNI', (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ('H-optimus-0', (255 * 0.707223, 255 * 0.578729, 255 * 0.703617),
     (255 * 0.211883, 255 * 0.230117, 255 * 0.177517)),
    ('kaiko-B8', (127.5, ) * 3, (127.5, ) * 3),
    ('DistillPath-KS16-HOpt0', (127.5, ) * 3, (127.5, ) * 3),
    ('DistillPath-IS16-HOpt0', (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ('mSTAR', (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    ('Hibou-L', (255 * 0.7068, 255 * 0.5755, 255 * 0.722),
     (255 * 0.195, 255 * 0.2316, 255 * 0.1816)),
    ('CONCH', (255 * 0.48145466, 255 * 0.4578275, 255 * 0.40821073),
     (255 * 0.26862954, 255 * 0.26130258, 255 * 0.27577711)),
    ('Lunit-S16', (255 * 0.70322989, 255 * 0.53606487, 255 * 0.66096631),
     (255 * 0.21716536, 255 * 0.26081574, 255 * 0.20723464)),
    ('vit_tiny_patch16_224', (127.5, ) * 3, (127.5, ) * 3),  # a name of timm
])
def test_normalization_on_the_0_255_scale(name, mean, std):
    entry = find_encoder(name)
    assert entry.mean == pytest.approx(mean) and entry.std == pytest.approx(std)


def row_of_document(row):
    """How docs/encoders.md shows a row of the table."""
    mean, std = (' '.join(f'{value / 255:.3f}' for value in row[key])
                 for key in ('mean', 'std'))
    cells = [
        f'`{row["name"]}`', row['patch_size'], row['embed_dims'], row['num_blocks'],
        row['num_prefix_tokens'], f'{mean} / {std}', row['licence'],
        'yes' if row['gated'] else 'no',
        f'[page](https://huggingface.co/{row["page"]})'
    ]
    return '| ' + ' | '.join(map(str, cells)) + ' |'


def test_document_shows_the_table():
    shown = [line for line in DOCUMENT.read_text().splitlines()
             if line.startswith('| `')]
    assert shown == [row_of_document(row) for row in TABLE.values()]
