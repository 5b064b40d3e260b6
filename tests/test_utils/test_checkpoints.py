# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.utils.checkpoints import to_mmseg_key, to_released_key

PAIRS = [
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
]


@pytest.mark.parametrize('released, ours', PAIRS)
def test_names_translate_both_ways(released, ours):
    assert to_mmseg_key(released) == ours
    assert to_released_key(ours) == released


def test_all_898_released_names_translate_to_898_others_and_back(shared_dir):
    path = shared_dir / 'docs/cellvta_state_dict_keys_conic.tsv'
    released = [line.split('\t')[0] for line in path.read_text().splitlines()]
    ours = [to_mmseg_key(key) for key in released]
    assert len(set(ours)) == len(released) == 898
    assert [to_released_key(key) for key in ours] == released


@pytest.mark.parametrize('rename', [to_mmseg_key, to_released_key])
def test_unknown_names_are_refused(rename):
    with pytest.raises(ValueError, match='layer1.0.weight: no such weight'):
        rename('layer1.0.weight')
