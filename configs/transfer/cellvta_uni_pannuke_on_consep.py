# CellVTA trained on PanNuke, scored on the test images of CoNSeP without adaptation:
# all nuclei (bPQ, AJI, F1_det) and the classes that both data sets share.
_base_ = ['../cellvta_uni_pannuke.py', '../_base_/class_maps.py']

# ---- what people edit ----
consep_root = 'data/CoNSeP/Test'  # folder with Images and Labels

# Tiles of the size of training, their maps blended over 64 px.
model = dict(test_cfg=dict(mode='slide', crop_size=(256, 256), stride=(192, 192)))
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _delete_=True,
        type='CoNSePDataset',
        data_root=consep_root,
        test_mode=True,
        # Images are brought to the scale of PanNuke.
        pipeline={{_base_.test_pipeline}}))
test_evaluator = dict(
    class_maps=dict(
        pred_dataset='PanNukeCellDataset',
        pred_map={{_base_.pannuke_map}},
        true_map={{_base_.consep_map}}))
