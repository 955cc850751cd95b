"""The published recipe's training step and loader, written from its description as a baseline.

Masks are one-hot maps of 256 slots at image size, average-pooled to cells for each of the four
passes; projector and predictor run slot by slot; everything is contiguous float32; the target
and the optimiser go parameter by parameter.  The loader augments the image and its int64 mask of
full size and hands over float32 pixels.
"""

import copy

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cyborgs.models.backbones import Backbone
from cyborgs.models.detcon import head
from cyborgs.models.pooling import join_layers
from cyborgs.objectives.detcon import candidates, view_loss

SLOTS = 256
CHANNELS = {"resnet18": 896, "resnet50": 3584}
SAMPLED = 16
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


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
                offered[other],
                offered[own],
                predictions[own][1],
                targets[other][1],
                targets[own][1],
            )
            for own, other in ((0, 1), (1, 0))
        )
        for parameter in self.online.parameters():
            parameter.grad = None
        loss.backward()
        self.update()
        return float(loss.detach())

    def vectors(self, network, images, labels):
        one_hot = F.one_hot(labels, SLOTS).permute(0, 3, 1, 2).float()
        cells = F.avg_pool2d(one_hot, 32).flatten(2)  # (B, slots, cells)
        ids = torch.stack(
            [torch.multinomial((c.sum(-1) > 0).float(), SAMPLED, replacement=True) for c in cells]
        )
        chosen = torch.gather(cells, 1, ids[:, :, None].expand(-1, -1, cells.shape[-1]))
        chosen = chosen / chosen.sum(-1, keepdim=True)
        features = join_layers(network["backbone"](images)).flatten(2).transpose(1, 2)
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
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    mask = np.load(mask_path)
    images, masks = [], []
    for view in range(2):
        top, left, height, width = crop(rng, *mask.shape)
        x = image[top : top + height, left : left + width]
        m = mask[top : top + height, left : left + width]
        x = cv2.resize(x, (side, side), interpolation=cv2.INTER_LINEAR)
        m = cv2.resize(m.astype(np.float64), (side, side), interpolation=cv2.INTER_NEAREST)
        m = m.astype(np.int64)
        if rng.random() < 0.5:
            x, m = cv2.flip(x, 1), m[:, ::-1]
        if rng.random() < 0.8:
            x = jitter(rng, x)
        if rng.random() < 0.2:
            x = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if rng.random() < (1.0, 0.1)[view]:
            x = cv2.GaussianBlur(x, (23, 23), rng.uniform(0.1, 2.0))
        if rng.random() < (0.0, 0.2)[view]:
            x = np.where(x < 128, x, 255 - x).astype(np.uint8)
        x = (x.astype(np.float32) / 255 - MEAN) / DEVIATION
        images.append(torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))))
        masks.append(torch.from_numpy(np.ascontiguousarray(m)))
    return torch.stack(images), torch.stack(masks)


def crop(rng, height, width):
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if w <= width and h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
    return 0, 0, height, width


def jitter(rng, x):
    """Brightness, contrast, saturation and hue, each with OpenCV, in a random order."""
    for which in rng.permutation(4):
        if which == 0:
            x = cv2.convertScaleAbs(x, alpha=rng.uniform(0.6, 1.4))
        elif which == 1:
            factor = rng.uniform(0.6, 1.4)
            mean = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).mean()
            x = cv2.convertScaleAbs(x, alpha=factor, beta=mean * (1 - factor))
        elif which == 2:
            factor = rng.uniform(0.8, 1.2)
            grey = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            x = cv2.addWeighted(x, factor, grey, 1 - factor, 0)
        else:
            hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
            shift = int(rng.uniform(-0.1, 0.1) * 180)
            hsv[..., 0] = (hsv[..., 0].astype(np.int16) + shift) % 180
            x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return x
