# CellVTA on PanNuke with Virchow2 (0.63 billion parameters, frozen) in place of UNI.
_base_ = './cellvta_uni_pannuke.py'

# ---- what people edit ----
encoder = 'Virchow2'  # any name of docs/encoders.md; its page says who may use it

model = dict(backbone=dict(encoder=dict(name=encoder)))
