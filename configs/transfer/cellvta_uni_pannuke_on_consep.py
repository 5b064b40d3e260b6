# CellVTA trained on PanNuke, scored on the test images of CoNSeP without adaptation:
# all nuclei (bPQ, AJI, F1_det) and the classes that both data sets share.
_base_ = ['../cellvta_uni_pannuke.py', '../_base_/class_maps.py']

# ---- what people edit ----
consep_root = 'data/CoNSeP/Test'  # folder with Images and Labels

test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='ResizeToMpp', mpp=0.25),  # µm/px of PanNuke; CoNSeP has 0.275
    # After ResizeToMpp: metrics compare at the original 1000 px.
    dict(type='LoadCellAnnotations'),
    dict(type='PackCellInputs'),
]
# Tiles of the size of training, their maps blended over 64 px.
model = dict(test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(192, 192)))
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _delete_=True,
        type='CoNSePDataset',
        data_root=consep_root,
        test_mode=True,
        pipeline=test_pipeline))
test_evaluator = dict(
    class_maps=dict(
        pred_dataset='PanNukeCellDataset',
        pred_map={{_base_.pannuke_map}},
        true_map={{_base_.consep_map}}))
