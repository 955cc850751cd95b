"""Parts of detectors without weights that are Detectron2's where torchvision has others."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import MultiScaleRoIAlign, roi_align

# Of anchors, in pixels, and height over width.
SIDES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)


class Resizing(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Pictures, boxes and masks at the size that networks see, and detections back at their own.

    Pictures are resized as Pillow does it: bilinearly, antialiased where they shrink, each pixel
    to a whole grey level, and sides rounded to the nearest pixel.  They are normalised after that.
    """

    def normalize(self, image: Tensor) -> Tensor:
        """The picture as it is; `resize` normalises it."""
        return image

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """A picture ``(3, height, width)`` in 0 … 1, and its ``boxes`` and ``masks``, resized."""
        before = image.shape[-2:]
        side = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
        size = resized_size(before[0], before[1], side, self.max_size)
        levels = F.interpolate(255 * image[None], size, mode="bilinear", antialias=True)[0]
        image = super().normalize(levels.round() / 255)
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], before, size)
            if "masks" in target:
                masks = target["masks"][:, None].float()
                target["masks"] = F.interpolate(masks, size)[:, 0].byte()
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Boxes and masks of detections in the pixels of the pictures as they were."""
        if self.training:
            return result
        for found, seen, own in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], seen, own)
            if "masks" in found:
                found["masks"] = placed(found["masks"], found["boxes"], *own)
        return result


def placed(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Masks in their boxes at the centres of a picture's pixels: ``(n, 1, height, width)``.

    Bilinear between the centres of a mask's cells, and between those of the outer ones and zero.

    Args:
        masks: ``(n, 1, side, side)``, in 0 … 1.
        boxes: their edges in pixels, ``(n, 4)``.
        height, width: of the picture.
    """
    out = masks.new_zeros(len(masks), 1, height, width)
    for mask, into, (left, top, right, bottom) in zip(masks, out, boxes.tolist(), strict=True):
        # Half a cell beyond the box all is zero.
        near = (right - left) / mask.shape[-1], (bottom - top) / mask.shape[-1]
        x = _span(left, right, near[0], width)
        y = _span(top, bottom, near[1], height)
        if len(x) == 0 or len(y) == 0:
            continue
        across = (masks.new_tensor(x) + 0.5 - left) / (right - left) * 2 - 1
        down = (masks.new_tensor(y) + 0.5 - top) / (bottom - top) * 2 - 1
        grid = torch.stack(
            [across.expand(len(y), len(x)), down[:, None].expand(len(y), len(x))], dim=-1
        )
        sampled = F.grid_sample(mask[None], grid[None], align_corners=False)
        into[:, y.start : y.stop, x.start : x.stop] = sampled[0]
    return out


def _span(begin: float, end: float, beyond: float, length: int) -> range:
    """Numbers of the pixels that a mask between two edges can reach."""
    if end <= begin:
        return range(0)
    return range(max(0, math.floor(begin - beyond)), min(length, math.ceil(end + beyond)))


def resized_size(height: int, width: int, side: int, longest: int) -> tuple[int, int]:
    """Height and width with a short side of ``side``, or less for a long one of ``longest``."""
    scale = min(side / min(height, width), longest / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors whose edges are not rounded to whole pixels."""

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Edges of boxes around 0, ``(ratios * sides, 4)``; a ratio is height over width."""
        sizes = [(s / math.sqrt(r), s * math.sqrt(r)) for r in aspect_ratios for s in scales]
        edges = [(-w / 2, -h / 2, w / 2, h / 2) for w, h in sizes]
        return torch.tensor(edges, dtype=dtype, device=device)


class Align(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoIAlign, its samples aligned to pixels, at as many points as a bin has pixels.

    `ROIAlignV2` of Detectron2.  Of several levels, a box of 224 pixels belongs to that of stride
    16, and one of twice the side to the next (Lin et al., 2017, equation 1).

    Args:
        side: of the output.
        strides: of the levels, each twice the one before.
    """

    def __init__(self, side: int, strides: Sequence[int]) -> None:
        super().__init__([str(n) for n in range(len(strides))], side, sampling_ratio=0)
        self.strides = strides

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], _: list[tuple[int, int]]
    ) -> Tensor:
        """Features of all boxes, ``(boxes, channels, side, side)``.

        Args:
            features: of each level by its number, ``(batch, channels, height, width)``.
            boxes: of each image: edges in pixels, ``(n, 4)``.
        """
        levels = torch.cat([self._levels(own) for own in boxes])
        images = [own.new_full((len(own), 1), number) for number, own in enumerate(boxes)]
        regions = torch.cat([torch.cat(images), torch.cat(boxes)], dim=1)
        shape = (len(regions), features["0"].shape[1], *self.output_size)
        found = features["0"].new_zeros(shape)
        for level, stride in enumerate(self.strides):
            chosen = torch.where(levels == level)[0]
            found[chosen] = roi_align(
                features[str(level)],
                regions[chosen],
                self.output_size,
                1 / stride,
                sampling_ratio=self.sampling_ratio,
                aligned=True,
            )
        return found

    def _levels(self, boxes: Tensor) -> Tensor:
        sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
        strides = 16 * 2 ** torch.log2(sides / 224 + torch.finfo(torch.float64).eps).floor()
        return torch.log2(strides / self.strides[0]).clamp(0, len(self.strides) - 1).long()
