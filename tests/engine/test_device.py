"""The device is one that the computer has, in the faster precision of its CPU."""

import numpy as np
import pytest
import torch

from napari_resunet.engine import device
from napari_resunet.engine.device import Compute, Download, choose, for_training, upload
from napari_resunet.errors import DeviceError


@pytest.fixture(autouse=True)
def _measured_anew():
    device._faster_on_cpu.cache_clear()
    yield
    device._faster_on_cpu.cache_clear()


@pytest.mark.parametrize(
    ("half", "single", "chosen"),
    [(0.5, 2.0, torch.bfloat16), (2.0, 1.2, torch.float32)],
    ids=["AMX", "AVX512-BF16, as it was measured on a Xeon"],
)
def test_native_bfloat16_is_taken_where_it_is_faster(monkeypatch, half, single, chosen):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    seconds = {torch.bfloat16: half, torch.float32: single}
    monkeypatch.setattr(device, "_convolution_seconds", seconds.__getitem__)
    assert choose("cpu").dtype is chosen


def test_a_cpu_without_native_bfloat16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose("cpu").dtype is torch.float32


def test_a_missing_device_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="choose 'auto' or 'cpu'"):
        choose("cuda")


@pytest.mark.parametrize(
    ("native", "chosen"), [(True, torch.bfloat16), (False, torch.float16)]
)
def test_a_card_that_only_emulates_bfloat16_computes_in_float16(
    monkeypatch, native, chosen
):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose("cuda") == Compute("cuda", chosen)


def test_gradients_are_never_float16():
    assert for_training(Compute("mps", torch.float16)) == Compute("mps", torch.float32)
    same = Compute("cuda", torch.bfloat16)
    assert for_training(same) == same


def test_what_goes_to_the_device_comes_back():
    sent = np.arange(6, dtype=np.uint16).reshape(2, 3).T
    there = upload(sent, torch.device("cpu"))
    assert there.dtype is torch.float32
    half, flag = Download(there.half(), (there > 4).any()).wait()
    assert np.array_equal(half.numpy(), sent)
    assert flag
