# The authors' released code, number for number, for their PanNuke checkpoints.
#
# Convert a checkpoint with tools/model_converters/cellvta_to_mmseg.py; it carries the
# encoder, so nothing is downloaded. What differs from cellvta_uni_pannuke.py is in
# _base_/models/released.py. For the other two splits, set the folds as
# cellvta_uni_pannuke_split2.py and _split3.py do.
_base_ = ['./cellvta_uni_pannuke.py', './_base_/models/released.py']

model = _base_.released
