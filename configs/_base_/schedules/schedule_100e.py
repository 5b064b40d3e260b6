# The paper's PanNuke schedule: the CoNIC schedule for 100 epochs.
_base_ = './schedule_50e.py'

max_epochs = 100
# Validated every epoch, as the paper does: the checkpoint to test is chosen by it, and
# fewer looks would choose among fewer. val_interval=5 would have saved the authors 30 %
# of their time.
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
