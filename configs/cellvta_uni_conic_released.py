# The authors' released code, number for number, for their CoNIC checkpoints.
#
# Convert a checkpoint with tools/model_converters/cellvta_to_mmseg.py; it carries the
# encoder, so nothing is downloaded. What differs from cellvta_uni_conic.py is in
# _base_/models/released.py and here.
_base_ = ['./cellvta_uni_conic.py', './_base_/models/released.py']

model = _base_.released
model.decode_head.tissue_classes = ('Colon', )  # without a loss on CoNIC
find_unused_parameters = True  # the tissue head has no loss
