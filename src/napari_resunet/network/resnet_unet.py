"""The reference network `ResNetUNet`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from napari_resunet.errors import WeightsUnavailableError
from napari_resunet.network.torch_import import nn, torch, torchvision

EncoderWeights = Literal["imagenet"] | None

STRIDE = 32
"""Height and width of the input must be multiples of this."""


def _conv_relu(n_in: int, n_out: int, kernel: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=padding),
        nn.ReLU(inplace=True),
    )


def _encoder(weights: EncoderWeights) -> nn.Module:
    resnet18: Callable[..., nn.Module] = torchvision.models.resnet18
    if weights is None:
        return resnet18(weights=None)
    if weights != "imagenet":
        raise ValueError(f"encoder_weights must be 'imagenet' or None, not {weights!r}.")
    try:
        return resnet18(weights=torchvision.models.ResNet18_Weights.IMAGENET1K_V1)
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailableError(
            "The ImageNet encoder weights could not be downloaded: connect to the "
            "internet and try again, or start from the shipped model 'starter'."
        ) from error


class ResNetUNet(nn.Module):
    """U-Net with a ResNet18 encoder and a branch at full resolution.

    The architecture is that of https://github.com/usuyama/pytorch-unet: a U-Net
    (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597) whose encoder is a ResNet18
    (He et al. 2015, https://arxiv.org/abs/1512.03385). Names and order of the submodules
    are those of the reference, so its ``state_dict`` loads with ``strict=True``.

    Parameters
    ----------
    n_class : int
        Number of output maps.
    encoder_weights : {"imagenet", None}
        torchvision's pretrained weights for the encoder, or random ones.

    Raises
    ------
    WeightsUnavailableError
        If the ImageNet weights cannot be downloaded.
    """

    def __init__(self, n_class: int, encoder_weights: EncoderWeights = None) -> None:
        super().__init__()
        self.base_model = _encoder(encoder_weights)
        stages = list(self.base_model.children())

        self.layer0 = nn.Sequential(*stages[:3])  # (N, 64, H/2, W/2)
        self.layer0_1x1 = _conv_relu(64, 64, 1, 0)
        self.layer1 = nn.Sequential(*stages[3:5])  # (N, 64, H/4, W/4)
        self.layer1_1x1 = _conv_relu(64, 64, 1, 0)
        self.layer2 = stages[5]  # (N, 128, H/8, W/8)
        self.layer2_1x1 = _conv_relu(128, 128, 1, 0)
        self.layer3 = stages[6]  # (N, 256, H/16, W/16)
        self.layer3_1x1 = _conv_relu(256, 256, 1, 0)
        self.layer4 = stages[7]  # (N, 512, H/32, W/32)
        self.layer4_1x1 = _conv_relu(512, 512, 1, 0)

        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

        self.conv_up3 = _conv_relu(256 + 512, 512, 3, 1)
        self.conv_up2 = _conv_relu(128 + 512, 256, 3, 1)
        self.conv_up1 = _conv_relu(64 + 256, 256, 3, 1)
        self.conv_up0 = _conv_relu(64 + 256, 128, 3, 1)

        self.conv_original_size0 = _conv_relu(3, 64, 3, 1)
        self.conv_original_size1 = _conv_relu(64, 64, 3, 1)
        self.conv_original_size2 = _conv_relu(64 + 128, 64, 3, 1)

        self.conv_last = nn.Conv2d(64, n_class, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the output maps of a batch of images.

        Parameters
        ----------
        images : Tensor, shape (N, 3, H, W)
            Normalized images; H and W are multiples of 32.

        Returns
        -------
        Tensor, shape (N, n_class, H, W)
            Logits.
        """
        original = self.conv_original_size1(self.conv_original_size0(images))
        layer0 = self.layer0(images)
        layer1 = self.layer1(layer0)
        layer2 = self.layer2(layer1)
        layer3 = self.layer3(layer2)
        layer4 = self.layer4(layer3)

        x = self.upsample(self.layer4_1x1(layer4))
        x = self.conv_up3(torch.cat([x, self.layer3_1x1(layer3)], dim=1))
        x = self.upsample(x)
        x = self.conv_up2(torch.cat([x, self.layer2_1x1(layer2)], dim=1))
        x = self.upsample(x)
        x = self.conv_up1(torch.cat([x, self.layer1_1x1(layer1)], dim=1))
        x = self.upsample(x)
        x = self.conv_up0(torch.cat([x, self.layer0_1x1(layer0)], dim=1))
        x = self.upsample(x)
        x = self.conv_original_size2(torch.cat([x, original], dim=1))
        logits: torch.Tensor = self.conv_last(x)
        return logits
