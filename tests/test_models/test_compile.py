# Copyright (c) CellVTA-MMSeg contributors.
"""torch.compile sees network and losses as one graph each."""
import platform

import pytest
import torch
from tiny_models import (
    BACKBONE,
    DIMS,
    ENCODERS,
    HEAD,
    SEGMENTOR,
    build,
    square_sample,
)

if not hasattr(torch, 'compile') or platform.system() == 'Windows':
    pytest.skip('this torch compiles no graphs here', allow_module_level=True)


def tiny(kind):
    tissues = kind != 'sam'
    head = dict(
        HEAD, tissue_classes=['skin', 'lung'], tissue_channels=DIMS,
        loss_tissue=dict(type='CrossEntropyLoss')) if tissues else HEAD
    return build(dict(
        SEGMENTOR,
        backbone=dict(
            BACKBONE, encoder=ENCODERS[kind], num_extra_extractors=0,
            out_cls_token=tissues),
        decode_head=head))


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('kind', ['rotary', 'sam'])
def test_the_network_is_one_graph(kind):
    model = tiny(kind).eval()
    inputs = torch.randn(1, 3, 64, 64)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    with torch.no_grad():
        expected = model(inputs, mode='tensor')
        for name, maps in compiled(inputs, mode='tensor').items():
            torch.testing.assert_close(maps, expected[name])


def test_network_and_losses_are_one_graph_for_every_batch():
    """Names of samples differ from batch to batch; the graph stays."""
    model = tiny('vit').train()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(model.forward, backend=backend, fullgraph=True)
    for name in ('a', 'b'):
        samples = [square_sample(name, tissue='lung') for _ in range(2)]
        inputs = torch.randn(2, 3, 64, 64)
        losses = compiled(inputs, samples, mode='loss')
        torch.testing.assert_close(losses, model(inputs, samples, mode='loss'))
    assert len(graphs) == 1
