"""ResNets as torchvision builds them (He et al., 2016), by torchvision's names of weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cyborgs.models.backbones.family import Family, Place, Statistics
from cyborgs.models.backbones.published import AtAddress, Published

if TYPE_CHECKING:
    from torch import Tensor, nn

# Residual blocks in layer1 to layer4 (He et al., 2016, table 1).
BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "wide_resnet50_2": (3, 4, 6, 3),
    "wide_resnet101_2": (3, 4, 23, 3),
}

# Without bottlenecks: a block's output is as wide as its convolutions.
BASIC = ("resnet18", "resnet34")

IMAGENET: Statistics = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

LAYERS = ("layer1", "layer2", "layer3", "layer4")


class ResNets(Family):
    """The six ResNets of torchvision that the field pretrains."""

    takes_any_size = True

    def has(self, architecture: str) -> bool:
        return architecture in BLOCKS

    def names(self) -> tuple[str, ...]:
        return tuple(BLOCKS)

    def stages(self, architecture: str) -> tuple[Place, ...]:
        width = 64 if architecture in BASIC else 256
        return tuple(Place(name, width << i, 4 << i) for i, name in enumerate(LAYERS))

    def blocks(self, architecture: str) -> tuple[Place, ...]:
        return tuple(
            Place(f"{stage.name}.{i}", stage.channels, stage.stride)
            for stage, count in zip(self.stages(architecture), BLOCKS[architecture], strict=True)
            for i in range(count)
        )

    def pooled(self, architecture: str) -> tuple[str, ...]:
        """layer2, layer3 and layer4, as in the published program."""
        return LAYERS[1:]

    def clustered(self, architecture: str) -> str:
        """``layer2.2`` as published, or the last block of layer2 where it has fewer."""
        return f"layer2.{min(2, BLOCKS[architecture][1] - 1)}"

    def network(self, architecture: str) -> "nn.Module":
        import torchvision

        network = torchvision.models.get_model(architecture, weights=None)
        del network.avgpool, network.fc
        return network

    def statistics(self, architecture: str) -> Statistics:
        """Those of ImageNet's training images."""
        return IMAGENET

    def smallest_image(self, architecture: str) -> tuple[int, int]:
        return (64, 64)

    def stage_outputs(
        self, backbone: "nn.Module", images: "Tensor", architecture: str
    ) -> "dict[str, Tensor]":
        """As of any family; strides are 4, 8, 16 and 32, and sizes round up."""
        outputs = {}
        x = _stem(backbone, images)
        for name in LAYERS:
            x = getattr(backbone, name)(x)
            outputs[name] = x
        return outputs

    def aligned(
        self, backbone: "nn.Module", images: "Tensor", places: Sequence[str], architecture: str
    ) -> "dict[str, Tensor]":
        """As of any family; kernels are odd, so locations lie where they should."""
        outputs: dict[str, Tensor] = {}
        x = _stem(backbone, images)
        for layer in LAYERS:
            for number, block in enumerate(getattr(backbone, layer)):
                x = block(x)
                if f"{layer}.{number}" in places:
                    outputs[f"{layer}.{number}"] = x
                if len(outputs) == len(places):
                    return outputs
            if layer in places:
                outputs[layer] = x
        return outputs

    def memory(self, architecture: str, place: str, *, pixels: int, itemsize: int) -> int:
        """As measured with a ResNet-50, whose tensors alone take nine tenths of it.

        The widest part of every architecture is layer1, at a sixteenth of the pixels.
        """
        return 45 * itemsize * pixels

    def simplify(self, backbone: "nn.Module") -> None:
        """Every BatchNorm becomes part of the convolution before it."""
        from torch import nn
        from torch.nn.utils.fusion import fuse_conv_bn_eval

        blocks: list[Any] = [backbone, *(b for name in LAYERS for b in getattr(backbone, name))]
        for block in blocks:
            for name, norm in list(block.named_children()):
                if isinstance(norm, nn.BatchNorm2d):
                    conv = name.replace("bn", "conv")
                    setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), norm))
                    setattr(block, name, nn.Identity())
            if getattr(block, "downsample", None) is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)

    def depths(self, backbone: "nn.Module") -> dict[str, int]:
        """A layer a residual block, above the stem."""
        order = {
            f"{layer}.{number}": None
            for layer in LAYERS
            for number in range(len(backbone.get_submodule(layer)))  # type: ignore[arg-type]
        }
        depth = {name: 1 + place for place, name in enumerate(order)}
        return {
            name: depth.get(".".join(name.split(".")[:2]), 0)
            for name, _ in backbone.named_parameters()
        }

    def public_names(self, weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """The same."""
        return dict(weights)

    def published(self, architecture: str) -> Published:
        """ImageNet's weights of torchvision's first recipe, which publications compare with."""
        import torchvision

        weights = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1
        return AtAddress(
            architecture=architecture,
            address=weights.url,
            digest=weights.url.rpartition("-")[2].removesuffix(".pth"),
            origin=(weights.meta["recipe"],),
        )


def _stem(backbone: Any, images: "Tensor") -> "Tensor":
    out: Tensor = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    return out
