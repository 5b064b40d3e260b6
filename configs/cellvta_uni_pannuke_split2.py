# The second of PanNuke's official splits: fold 2 to train, 1 to validate, 3 to test.
_base_ = './cellvta_uni_pannuke.py'

train_dataloader = dict(dataset=dict(folds=[2]))
val_dataloader = dict(dataset=dict(folds=[1]))
test_dataloader = dict(dataset=dict(folds=[3]))
