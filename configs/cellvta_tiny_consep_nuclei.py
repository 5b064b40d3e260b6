# The same network taught one class, 'nucleus': a cell classifier gives the nuclei the
# classes that are wanted later (see docs/cell_classifier.md).
_base_ = './cellvta_tiny_consep.py'

# ---- what people edit ----
data_root = 'data/CoNSeP/Train'  # folder with Images and Labels

model = dict(decode_head=dict(num_classes=2))  # background and nucleus
one_class = dict(data_root=data_root, class_agnostic=True)
train_dataloader = dict(dataset=one_class)
val_dataloader = dict(dataset=one_class)
test_dataloader = dict(dataset=one_class)
