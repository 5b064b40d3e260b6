# CellViT over SAM ViT-H on PanNuke; see cellvit_sam_b_pannuke.py.
_base_ = './cellvit_sam_b_pannuke.py'

# ---- what people edit ----
encoder = 'SAM-H'

model = dict(backbone=dict(encoder=dict(name=encoder)))
