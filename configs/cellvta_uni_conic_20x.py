# CellVTA on CoNIC at its native 20x: a quarter of the pixels of cellvta_uni_conic.py.
# A patch of 256 px is one tile.
_base_ = './cellvta_uni_conic.py'

model = dict(
    mpp=0.5,  # µm/px in the network
    test_cfg=dict(_delete_=True, mode='whole'))
train_dataloader = dict(dataset=dict(times=1))
