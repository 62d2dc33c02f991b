from urllib.error import URLError

import pytest
import torch
from reference_unet import ReferenceUNet

import napari_resunet
from napari_resunet.errors import WeightsUnavailableError
from napari_resunet.network.resnet_unet import ResNetUNet


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(5)
    reference = ReferenceUNet(3).eval()
    ours = ResNetUNet(3).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    return reference, ours


def test_the_network_is_public():
    assert napari_resunet.ResNetUNet is ResNetUNet


def test_a_reference_state_dict_loads_strictly_both_ways(pair):
    reference, ours = pair
    assert list(ours.state_dict()) == list(reference.state_dict())
    reference.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize("shape", [(2, 3, 64, 96), (1, 3, 32, 32)])
def test_output_equals_the_reference(pair, shape):
    reference, ours = pair
    images = torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(ours(images), reference(images))


def test_number_of_parameters():
    assert sum(p.numel() for p in ResNetUNet(3).parameters()) == 18_312_939


def test_encoder_appears_twice_with_one_storage():
    state = ResNetUNet(3).state_dict()
    first, again = state["base_model.layer2.0.conv1.weight"], state["layer2.0.conv1.weight"]
    assert first.data_ptr() == again.data_ptr()


def test_offline_imagenet_weights_fail_in_one_sentence(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match="connect to the internet"):
        ResNetUNet(3, encoder_weights="imagenet")
