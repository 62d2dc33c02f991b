import copy

import pytest
import torch

from napari_resunet.engine.device import Compute
from napari_resunet.engine.optimized import (
    SMALL_BATCH,
    FastConvolution,
    FastUpsample,
    fast_copy,
    prepare_for_training,
    use_fast_convolutions,
)
from napari_resunet.network.resnet_unet import ResNetUNet

CPU = Compute("cpu", torch.float32)


@pytest.fixture
def network():
    torch.manual_seed(3)
    network = ResNetUNet(3)
    network(torch.randn(2, 3, 64, 64))  # statistics of BatchNorm that are not 0 and 1
    return network.eval()


def test_inference_gives_the_same_maps(network):
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        difference = fast_copy(network, CPU)(images) - network(images)
    assert difference.abs().max() < 1e-4


def test_training_gives_the_same_gradients(network):
    fast = copy.deepcopy(network)
    prepare_for_training(fast, CPU)
    use_fast_convolutions(fast)  # whatever CPU this is
    assert any(isinstance(module, FastConvolution) for module in fast.modules())
    images = torch.randn(2, 3, 64, 96)
    for each in (network, fast):
        each(images).square().mean().backward()
    for (name, slow), (_, quick) in zip(
        network.named_parameters(), fast.named_parameters(), strict=True
    ):
        torch.testing.assert_close(quick.grad, slow.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_training_leaves_the_state_dict_that_others_can_load(network):
    fast = copy.deepcopy(network)
    prepare_for_training(fast, CPU)
    use_fast_convolutions(fast)
    ResNetUNet(3).load_state_dict(fast.state_dict(), strict=True)


def test_upsampling_is_differentiated_exactly():
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FastUpsample(), (x,))


@pytest.mark.parametrize("side", [20, 71])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolving_is_differentiated_exactly(side, layout):
    # One batch that torch differentiates, and one of several products that we do.
    assert 2 * 20**2 < SMALL_BATCH < 2 * 71**2
    slow = torch.nn.Conv2d(8, 12, 3, padding=1).double()
    x = torch.randn(2, 8, side, side, dtype=torch.float64).to(memory_format=layout)
    inputs = (x.requires_grad_(), *slow.parameters())
    wanted, gradients = (
        torch.autograd.grad(each(x).sin().sum(), inputs)
        for each in (slow, FastConvolution(slow))
    )
    torch.testing.assert_close(gradients, wanted)


def test_convolving_is_differentiated_for_a_frozen_input_or_weight():
    slow = torch.nn.Conv2d(8, 12, 3, padding=1, bias=False)
    fast = FastConvolution(slow)
    x = torch.randn(2, 8, 40, 40)
    fast(x).sum().backward()
    assert x.grad is None
    assert fast.weight.grad is not None
    (of_x,) = torch.autograd.grad(fast.requires_grad_(False)(x.requires_grad_()).sum(), x)
    torch.testing.assert_close(of_x, torch.autograd.grad(slow(x).sum(), x)[0])
