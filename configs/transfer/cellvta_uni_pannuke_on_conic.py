# CellVTA trained on PanNuke, scored on all of CoNIC without adaptation, but for the
# patches that CoNIC has taken from PanNuke.
_base_ = ['../cellvta_uni_pannuke.py', '../_base_/class_maps.py']

# ---- what people edit ----
conic_root = 'data/conic'  # folder with images.npy, labels.npy, patch_info.csv

# Tiles of the size of training, their maps blended over 64 px.
model = dict(test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(192, 192)))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CoNICDataset',
        data_root=conic_root,
        exclude_cohorts=['pannuke'],
        test_mode=True,
        # Images are brought to the scale of PanNuke.
        pipeline={{_base_.test_pipeline}}))
test_evaluator = dict(
    class_maps=dict(
        pred_dataset='PanNukeCellDataset',
        pred_map={{_base_.pannuke_map}},
        true_map={{_base_.conic_map}}))
