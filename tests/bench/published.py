"""The published program's training step and loader, written from its description as a baseline.

The label map of a view becomes one map of each of 81 ids at full size, average-pooled to cells, for
each of the four passes; 16 ids are drawn without replacement; projector and predictor run mask by
mask; everything is contiguous float32; the target and the optimiser go parameter by parameter.  The
loader augments the image and its int64 mask of full size and hands over float32 pixels.  The loss
is ours, which comes to the same figure.
"""

import copy

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import LAYERS
from cyborgs.models.pair import head
from cyborgs.models.pooling import join_stages
from cyborgs.objectives.detcon import candidates, view_loss
from cyborgs.pretraining.published_jitter import published_jitter

SLOTS = 81
CHANNELS = {"resnet18": 896, "resnet50": 3584}
SAMPLED = 16
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
SOLARISED = np.where(np.arange(256) < 128, np.arange(256), 255 - np.arange(256)).astype(np.uint8)


class Step:
    """Networks and optimiser state of the published step."""

    def __init__(self, architecture="resnet50", hidden=4096, projection=256, device="cpu"):
        self.online = nn.ModuleDict(
            {
                "backbone": Backbone(architecture),
                "projector": head(CHANNELS[architecture], hidden, projection),
                "predictor": head(projection, hidden, projection),
            }
        ).to(device)
        self.target = nn.ModuleDict(
            {name: copy.deepcopy(self.online[name]) for name in ("backbone", "projector")}
        )
        self.target.requires_grad_(False)
        self.velocity = {name: torch.zeros_like(p) for name, p in self.online.named_parameters()}

    def __call__(self, images, labels):
        """One step; ``images`` float ``(2, B, 3, S, S)``, ``labels`` int64 ``(2, B, S, S)``."""
        predictions = [self.vectors(self.online, images[v], labels[v]) for v in range(2)]
        with torch.no_grad():
            targets = [self.vectors(self.target, images[v], labels[v]) for v in range(2)]
        offered = [candidates(vectors) for vectors, _ in targets]
        loss = sum(
            view_loss(
                predictions[own][0],
                across=offered[other],
                within=offered[own],
                ids=predictions[own][1],
                ids_across=targets[other][1],
                ids_within=targets[own][1],
            )
            for own, other in ((0, 1), (1, 0))
        )
        for parameter in self.online.parameters():
            parameter.grad = None
        loss.backward()
        self.update()
        return float(loss.detach())

    def vectors(self, network, images, labels):
        slots = torch.arange(SLOTS, device=labels.device)
        maps = (labels[:, None] == slots[None, :, None, None]).float()  # (B, slots, S, S)
        winners = F.avg_pool2d(maps, 32).flatten(2).argmax(1)
        cells = torch.eye(SLOTS, device=labels.device)[winners].transpose(1, 2)  # (B, slots, cells)
        # Without replacement, so that ids that are absent fill up where too few are present.
        ids = torch.multinomial((cells.sum(-1) > 0).float() + 1e-11, SAMPLED)
        chosen = torch.gather(cells, 1, ids[:, :, None].expand(-1, -1, cells.shape[-1]))
        chosen = chosen / chosen.sum(-1, keepdim=True).clamp(min=1)
        features = join_stages(network["backbone"](images), LAYERS[1:]).flatten(2).transpose(1, 2)
        pooled = chosen @ features
        out = torch.stack([network["projector"](pooled[:, m]) for m in range(SAMPLED)], 1)
        if "predictor" in network:
            out = torch.stack([network["predictor"](out[:, m]) for m in range(SAMPLED)], 1)
        return out, ids

    @torch.no_grad()
    def update(self, rate=0.025):
        for name, p in self.online.named_parameters():
            gradient = p.grad
            if p.ndim > 1:
                gradient = gradient + 1.5e-6 * p
                sizes = p.norm(), gradient.norm()
                if sizes[0] > 0 and sizes[1] > 0:
                    gradient = gradient * (1e-3 * sizes[0] / (sizes[1] + 1e-8))
            velocity = self.velocity[name]
            velocity.mul_(0.9).add_(gradient)
            p.add_(velocity, alpha=-rate)
        online = dict(self.online.named_parameters())
        for name, p in self.target.named_parameters():
            p.copy_(0.996 * p + (1 - 0.996) * online[name])


def two_views(path, mask_path, rng, side=224):
    """A sample of the published loader: float32 ``(2, 3, S, S)`` and int64 ``(2, S, S)``."""
    image = np.array(Image.open(path).convert("RGB"))
    mask = np.load(mask_path)
    images, masks = [], []
    for view in range(2):
        top, left, height, width = crop(rng, *mask.shape)
        x = image[top : top + height, left : left + width]
        m = mask[top : top + height, left : left + width].astype(np.int32)
        x = cv2.resize(x, (side, side), interpolation=cv2.INTER_LINEAR)
        m = cv2.resize(m, (side, side), interpolation=cv2.INTER_NEAREST)
        if rng.random() < 0.8:
            b, c = rng.uniform(0.6, 1.4, 2)
            x = published_jitter(
                x,
                brightness=b,
                contrast=c,
                saturation=rng.uniform(0.8, 1.2),
                hue=rng.uniform(-0.1, 0.1),
            )
        if rng.random() < 0.2:
            x = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if rng.random() < (1.0, 0.1)[view]:
            x = cv2.GaussianBlur(x, (23, 23), rng.uniform(0.1, 2.0))
        if rng.random() < (0.0, 0.2)[view]:
            x = cv2.LUT(x, SOLARISED)
        if rng.random() < 0.5:
            x, m = cv2.flip(x, 1), cv2.flip(m, 1)
        x = (x.astype(np.float32) / 255 - MEAN) / DEVIATION
        images.append(torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))))
        masks.append(torch.from_numpy(m.astype(np.int64)))
    return torch.stack(images), torch.stack(masks)


def crop(rng, height, width):
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if w <= width and h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
    return 0, 0, height, width
