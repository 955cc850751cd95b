"""ResNets as torchvision builds them (He et al., 2016), by torchvision's names of weights."""

from typing import TYPE_CHECKING, Any

from cyborgs.models.backbones.family import Family, Place

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

LAYERS = ("layer1", "layer2", "layer3", "layer4")


class ResNets(Family):
    """The six ResNets of torchvision that the field pretrains."""

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

    def network(self, architecture: str) -> "nn.Module":
        import torchvision

        network = torchvision.models.get_model(architecture, weights=None)
        del network.avgpool, network.fc
        return network

    def stage_outputs(self, backbone: "nn.Module", images: "Tensor") -> "dict[str, Tensor]":
        """As of any family; strides are 4, 8, 16 and 32, and sizes round up."""
        outputs = {}
        x = _stem(backbone, images)
        for name in LAYERS:
            x = getattr(backbone, name)(x)
            outputs[name] = x
        return outputs

    def output_of(self, backbone: "nn.Module", images: "Tensor", place: str) -> "Tensor":
        last, _, index = place.partition(".")
        x = _stem(backbone, images)
        for name in LAYERS[: LAYERS.index(last)]:
            x = getattr(backbone, name)(x)
        blocks = getattr(backbone, last)
        for block in blocks[: int(index) + 1] if index else blocks:
            x = block(x)
        return x

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


def _stem(backbone: Any, images: "Tensor") -> "Tensor":
    out: Tensor = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    return out
