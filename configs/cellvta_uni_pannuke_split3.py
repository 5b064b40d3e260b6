# The third of PanNuke's official splits: fold 3 to train, 2 to validate, 1 to test.
_base_ = './cellvta_uni_pannuke.py'

train_dataloader = dict(dataset=dict(folds=[3]))
val_dataloader = dict(dataset=dict(folds=[2]))
test_dataloader = dict(dataset=dict(folds=[1]))
