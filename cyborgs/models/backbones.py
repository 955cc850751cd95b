"""ResNet backbones whose intermediate features have names; no hooks, no classifier."""

from collections.abc import Mapping

import torchvision
from torch import Tensor, nn

LAYERS = ("layer1", "layer2", "layer3", "layer4")


class Backbone(nn.Module):
    """A torchvision ResNet (He et al., 2016) without average pooling and classifier.

    Parameters have torchvision's names, so a state dict of one loads into the other.

    Args:
        architecture: torchvision's name, such as ``resnet50``.

    Attributes:
        channels: output channels of each of layer1 … layer4.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        network = torchvision.models.get_model(architecture, weights=None)
        self.architecture = architecture
        self.conv1 = network.conv1
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool = network.maxpool
        self.layer1 = network.layer1
        self.layer2 = network.layer2
        self.layer3 = network.layer3
        self.layer4 = network.layer4
        width = network.fc.in_features
        self.channels = {name: width >> (3 - i) for i, name in enumerate(LAYERS)}

    def _stem(self, images: Tensor) -> Tensor:
        out: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return out

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs of layer1 … layer4, of shape ``(batch, channels, height / s, width / s)``.

        ``images``: float ``(batch, 3, height, width)``, normalised; strides ``s`` are 4, 8,
        16 and 32, and sizes round up.
        """
        features = {}
        x = self._stem(images)
        for name in LAYERS:
            x = getattr(self, name)(x)
            features[name] = x
        return features

    def up_to(self, images: Tensor, block: str) -> Tensor:
        """Output of one residual block, such as ``layer2.2``; nothing after it is computed.

        ``images``: ``(batch, 3, height, width)``; returns ``(batch, channels, rows, cols)``.
        """
        last, index = block.split(".")
        x = self._stem(images)
        for name in LAYERS[: LAYERS.index(last)]:
            x = getattr(self, name)(x)
        for module in getattr(self, last)[: int(index) + 1]:
            x = module(x)
        return x


def block_stride(block: str) -> int:
    """Pixels between two locations of a block's output: 4, 8, 16 or 32."""
    return 4 << LAYERS.index(block.split(".")[0])


def backbone_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the backbone in that of an encoder, by torchvision's names."""
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def describe_mismatch(expected: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """What is missing, unexpected or of another shape; empty where all fits."""
    wrong = [
        *(f"{k} is missing" for k in expected if k not in given),
        *(f"{k} is unexpected" for k in given if k not in expected),
        *(
            f"{k} is {tuple(given[k].shape)}, not {tuple(v.shape)}"
            for k, v in expected.items()
            if k in given and given[k].shape != v.shape
        ),
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more
