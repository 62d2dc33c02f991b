"""The device is one that the computer has, in the faster precision of its CPU."""

import pytest
import torch

from napari_resunet.engine import device
from napari_resunet.engine.device import choose
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
