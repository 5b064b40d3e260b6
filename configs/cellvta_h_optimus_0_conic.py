# CellVTA on CoNIC with H-optimus-0 (1.1 billion parameters, frozen) in place of UNI.
_base_ = './cellvta_uni_conic.py'

# ---- what people edit ----
encoder = 'H-optimus-0'  # any name of docs/encoders.md; its page says who may use it

model = dict(backbone=dict(encoder=dict(name=encoder)))
