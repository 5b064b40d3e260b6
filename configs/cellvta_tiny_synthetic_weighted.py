# The demo with patches of rare classes drawn more often.
_base_ = './cellvta_tiny_synthetic.py'

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type='CellWeightedSampler',
        strategy='cell',
        gamma=0.85))  # strength, 0 to 1; the paper's for PanNuke
