# Copyright (c) CellVTA-MMSeg contributors.
import argparse
import os

import pytest
import torch

from mmseg_cellvta.utils.checkpoints import CELLVTA, convert_checkpoint, read_checkpoint

STATE = dict(weight=torch.arange(3.))


class Malicious:
    """Pickled so that reading it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command, )


@pytest.mark.parametrize(('wrap', 'others'), [
    (lambda s: s, {}),
    (lambda s: dict(model_state_dict=s, arch='CellViTSAM'), dict(arch='CellViTSAM')),
    (lambda s: dict(state_dict=s, meta=dict(epoch=3)), dict(meta=dict(epoch=3)))])
def test_bare_and_wrapped_weights_are_the_same(tmp_path, wrap, others):
    torch.save(wrap(STATE), tmp_path / 'a.pth')
    checkpoint = read_checkpoint(tmp_path / 'a.pth')
    assert torch.equal(checkpoint.pop('state_dict')['weight'], STATE['weight'])
    assert checkpoint == others


def test_code_is_named_and_not_run(tmp_path):
    path, trace = tmp_path / 'a.pth', tmp_path / 'trace'
    torch.save(dict(STATE, config=Malicious(f'touch {trace}')), path)
    with pytest.raises(
            ValueError, match=r'a.pth: holds \w+.system besides tensors.*--trust'):
        read_checkpoint(path)
    assert not trace.exists()


def test_objects_are_read_on_trust(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=STATE, config=argparse.Namespace(a=1)), path)
    with pytest.raises(ValueError, match='holds argparse.Namespace besides'):
        read_checkpoint(path)
    assert read_checkpoint(path, trust=True)['state_dict'].keys() == STATE.keys()


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / 'a.pth'
    with pytest.raises(ValueError, match='a.pth: no such file'):
        read_checkpoint(path)
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='a.pth: not a readable checkpoint'):
        read_checkpoint(path)


@pytest.mark.parametrize('content', [
    [1, 2], {}, dict(epoch=3), torch.zeros(2), dict(state_dict={})])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='a.pth: expected named tensors'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(('theirs', 'ours'), [
    ('encoder.cls_token', 'backbone.encoder.vit.cls_token'),
    ('encoder.blocks.3.ls1.gamma', 'backbone.encoder.vit.blocks.3.ls1.gamma'),
    # Both begin with encoder.norm, but only one is the ViT's.
    ('encoder.norm.weight', 'backbone.cls_norm.weight'),
    ('encoder.norm2.running_var', 'backbone.norms.1.running_var'),
    ('encoder.level_embed', 'backbone.level_embed'),
    ('encoder.head.bias', 'decode_head.tissue_head.bias'),
    ('encoder.interactions.3.extra_extractors.1.ffn.dwconv.dwconv.weight',
     'backbone.interactions.3.extractors.2.ffn.dwconv.weight'),
    ('encoder.interactions.0.extractor.attn.value_proj.bias',
     'backbone.interactions.0.extractors.0.attn.value_proj.bias'),
    ('decoder0.1.block.1.num_batches_tracked',
     'decode_head.skip_encoders.0.1.bn.num_batches_tracked'),
    ('hv_map_decoder.bottleneck_upsampler.0.block.2.weight',
     'decode_head.branches.hv.bottleneck.1.bn.weight'),
    ('nuclei_binary_map_decoder.decoder3_upsampler.3.bias',
     'decode_head.branches.np.levels.0.3.bias'),
    ('nuclei_type_maps_decoder.decoder0_header.0.block.0.weight',
     'decode_head.branches.nc.levels.3.0.conv.weight'),
])
def test_names_translate_both_ways(theirs, ours):
    assert CELLVTA.to_ours(theirs) == ours
    assert CELLVTA.to_theirs(ours) == theirs


def test_all_898_released_names_translate_to_898_others_and_back(shared_dir):
    path = shared_dir / 'docs/cellvta_state_dict_keys_conic.tsv'
    theirs = [line.split('\t')[0] for line in path.read_text().splitlines()]
    ours = [CELLVTA.to_ours(key) for key in theirs]
    assert len(set(ours)) == len(theirs) == 898
    assert [CELLVTA.to_theirs(key) for key in ours] == theirs


def test_without_room_on_the_disk_the_older_file_stays(tmp_path, monkeypatch):
    torch.save({key: torch.zeros(1) for key in CELLVTA.needed}, tmp_path / 'src.pth')
    (tmp_path / 'dst.pth').write_bytes(b'older')

    def save_half(content, path):
        path.write_bytes(b'half')
        raise OSError('no space left on device')

    monkeypatch.setattr(torch, 'save', save_half)
    with pytest.raises(OSError, match='no space'):
        convert_checkpoint(tmp_path / 'src.pth', tmp_path / 'dst.pth', CELLVTA)
    assert {path.name for path in tmp_path.iterdir()} == {'src.pth', 'dst.pth'}
    assert (tmp_path / 'dst.pth').read_bytes() == b'older'
