"""Any backbone of timm that gives feature maps, as ``timm/NAME``, by timm's names of weights.

timm's own feature information says which stages there are.  The rest is found by sending shapes
without values (the meta device) through a network once: the blocks within stages, and whether the
network takes images of any size.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cyborgs.common.errors import InputError
from cyborgs.models.backbones.family import Family, Place, Statistics
from cyborgs.models.backbones.published import AtAddress, OnHub, Published

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "timm/"

# Locations that the image of shapes has at stride 32, and in a transformer: two numbers that no
# network has as channels, so that channels are found among the dimensions of an output.
_ROWS, _COLS = 5, 11

# Sides of images whose memory is counted, in pixels.
_SIDES = (448, 896)

# Memory of a process that makes masks on a CPU, relative to that of its tensors, by the bytes of a
# number: it keeps what was freed, with gaps (measured by tests/bench/backbones.py --memory).
_GAPS = {4: 2.0, 2: 2.6}

# Finer stages are stems; masks are never pooled or clustered there.
_FINEST = 4


@dataclass(frozen=True)
class _Network:
    """What is known of an architecture.

    Attributes:
        options: of ``timm.create_model``.
        stages: from the first to the last.
        blocks: within stages; those of a plain transformer are its stages.
        indices: of each stage in timm's ``forward_intermediates``.
        channels_last: blocks whose output is ``(batch, rows, cols, channels)``.
        plain: whether all stages have one stride, as in a vision transformer.
        patches: whether it begins with patches that do not overlap.
        same_padding: whether it pads as TensorFlow does.
        statistics: mean and deviation of pixels that its weights expect.
    """

    options: dict[str, Any]
    stages: tuple[Place, ...]
    blocks: tuple[Place, ...]
    indices: dict[str, int]
    channels_last: frozenset[str]
    plain: bool
    patches: bool
    same_padding: bool
    statistics: Statistics

    def shift(self, stride: int) -> int:
        """Pixels by which the first location's centre lies behind the first pixel.

        A location of a network that cuts an image into patches is centred in its patch.  With odd
        kernels and symmetric padding it lies on the patch's first pixel, and with TensorFlow's
        padding on its last.
        """
        if self.patches:
            return stride // 2
        return stride - 1 if self.same_padding else 0


class Timm(Family):
    """The networks of timm (Wightman, 2019) that give feature maps of images of any size."""

    libraries = ("timm",)

    def has(self, architecture: str) -> bool:
        return architecture.startswith(PREFIX)

    def names(self) -> tuple[str, ...]:
        """Some: timm has a thousand."""
        return tuple(
            PREFIX + name
            for name in ("convnext_tiny", "vit_small_patch16_224", "efficientnet_b0", "regnety_032")
        )

    def stages(self, architecture: str) -> tuple[Place, ...]:
        return _look_at(architecture).stages

    def blocks(self, architecture: str) -> tuple[Place, ...]:
        return _look_at(architecture).blocks

    def pooled(self, architecture: str) -> tuple[str, ...]:
        """Stages from stride 8 on, as of ResNets; of a plain transformer the last block."""
        network = _look_at(architecture)
        if network.plain:
            return (network.stages[-1].name,)
        coarse = tuple(stage.name for stage in network.stages if stage.stride >= 8)
        return coarse or (network.stages[-1].name,)

    def statistics(self, architecture: str) -> Statistics:
        return _look_at(architecture).statistics

    def clustered(self, architecture: str) -> str:
        """The stage of stride 8, as of ResNets; of a plain transformer the last block."""
        stages = _look_at(architecture).stages
        return next((stage.name for stage in stages if stage.stride == 8), stages[-1].name)

    def network(self, architecture: str) -> "nn.Module":
        from torch import nn

        whole = nn.Module()
        whole.add_module("model", _create(architecture, _look_at(architecture).options))
        return whole

    def smallest_image(self, architecture: str) -> tuple[int, int]:
        stride = _look_at(architecture).stages[-1].stride
        return (2 * stride, 2 * stride)

    def stage_outputs(
        self, backbone: "nn.Module", images: "Tensor", architecture: str
    ) -> "dict[str, Tensor]":
        """As of any family; those of plain transformers have gone through the last norm."""
        network = _look_at(architecture)
        outputs = _intermediates(backbone, images, network, list(network.indices.values()))
        return dict(zip(network.indices, outputs, strict=True))

    def aligned(
        self, backbone: "nn.Module", images: "Tensor", places: Sequence[str], architecture: str
    ) -> "dict[str, Tensor]":
        """As of any family.

        A location of patches is centred in its patch, and not on its first pixel.  So images are
        moved by half a patch, and edges repeated; a patch that would be cut off is completed.
        """
        network = _look_at(architecture)
        strides = {p.name: p.stride for p in (*network.blocks, *network.stages)}
        outputs = {}
        for name in places:
            moved = _moved(images, strides[name], network)
            if name in network.indices:
                index = network.indices[name]
                output = _intermediates(backbone, moved, network, [index])[0]
            else:
                output = _output_of(backbone.get_submodule("model"), name, moved)
                if name in network.channels_last:
                    output = output.permute(0, 3, 1, 2)
            rows, cols = (-(-side // strides[name]) for side in images.shape[-2:])
            outputs[name] = output[..., :rows, :cols]
        return outputs

    def memory(self, architecture: str, place: str, *, pixels: int, itemsize: int) -> int:
        """As counted on shapes (`most_held`), with gaps in the heap."""
        linear, quadratic = _growth(architecture, place)
        return round(_GAPS[itemsize] * itemsize * (linear * pixels + quadratic * pixels**2))

    def simplify(self, backbone: "nn.Module") -> None:
        """Nothing: what there is to save differs from network to network."""

    def depths(self, backbone: "nn.Module") -> dict[str, int]:
        """As timm groups parameters."""
        from timm.models import group_parameters

        model: Any = backbone.get_submodule("model")
        found = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        return {f"model.{name}": int(depth) for name, depth in found.items()}

    def without_decay(self, backbone: "nn.Module") -> frozenset[str]:
        """Position embeddings and tokens, as timm lists them."""
        model: Any = backbone.get_submodule("model")
        listed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
        return frozenset(f"model.{name}" for name in listed)

    def public_names(self, weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Those of ``timm.create_model(NAME, num_classes=0)``."""
        return {name.removeprefix("model."): value for name, value in weights.items()}

    def published(self, architecture: str) -> Published:
        """The weights of its tag, or of timm's default one: of Hugging Face's hub if it has them.

        timm reads other addresses only for the few that the hub lacks.
        """
        import timm

        _require_name(architecture)
        name = architecture.removeprefix(PREFIX)
        config = timm.get_pretrained_cfg(name)
        if config is None or not (config.hf_hub_id or config.url):
            hint = _with_weights(name.split(".")[0]) or "; take a file, or another architecture"
            raise InputError(f"timm publishes no weights of {architecture}{hint}")
        origin = [config.origin_url] if config.origin_url else []
        papers = config.paper_ids or ()
        origin += [papers] if isinstance(papers, str) else papers
        about: dict[str, Any] = {
            "architecture": architecture,
            "licence": config.license or "",
            "origin": tuple(origin),
        }
        if config.hf_hub_id:
            own = config.hf_hub_filename
            files = (own,) if own else ("model.safetensors", "pytorch_model.bin")
            return OnHub(repository=config.hf_hub_id, files=files, **about)
        # timm may also give a file name beside an address, but gives none.
        return AtAddress(address=str(config.url), **about)


def _intermediates(
    backbone: "nn.Module", images: "Tensor", network: _Network, indices: list[int]
) -> "list[Tensor]":
    model: Any = backbone.get_submodule("model")
    outputs: list[Tensor] = model.forward_intermediates(
        images,
        indices=indices,
        norm=network.plain,
        stop_early=not network.plain,
        intermediates_only=True,
    )
    return outputs


class _Reached(Exception):  # noqa: N818 (a signal, no error)
    """A block has given its output; nothing behind it needs to be computed."""

    def __init__(self, output: "Tensor") -> None:
        super().__init__()
        self.output = output


def _output_of(model: "nn.Module", name: str, images: "Tensor") -> "Tensor":
    def leave(_: Any, __: Any, output: "Tensor") -> None:
        raise _Reached(output)

    hook = model.get_submodule(name).register_forward_hook(leave)
    try:
        model(images)
    except _Reached as reached:
        return reached.output
    finally:
        hook.remove()
    raise AssertionError(f"{name} was not reached")


def _moved(images: "Tensor", stride: int, network: _Network) -> "Tensor":
    """Images whose location ``i`` is centred on pixel ``stride i`` of what was given."""
    import torch.nn.functional as F

    shift = network.shift(stride)
    if not network.patches and not shift:
        return images
    height, width = (-(-side // stride) * stride for side in images.shape[-2:])
    images = images[..., : height - shift, : width - shift]
    below, beside = height - shift - images.shape[-2], width - shift - images.shape[-1]
    return F.pad(images, (shift, beside, shift, below), mode="replicate")


def _create(architecture: str, options: Mapping[str, Any]) -> Any:
    import timm

    return timm.create_model(
        architecture.removeprefix(PREFIX), pretrained=False, num_classes=0, **options
    )


# Last part of the names of blocks: members of a sequence, or `b1` as in RegNets.
_BLOCK = re.compile(r"b?\d+")

# Ways to ask for a network that takes images of any size.
_OPTIONS: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


@cache
def _growth(architecture: str, place: str) -> tuple[float, float]:
    """Numbers that are held of an image, by its pixels and by their square.

    Found from two sizes.  Only attention that is not fused, or has a bias for each pair of
    locations, has a part that grows with the square.
    """
    import torch

    from cyborgs.models.backbones.held import most_held

    family, held = Timm(), []
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = family.network(architecture).eval()
        network.to(memory_format=torch.channels_last)
        for side in _SIDES:
            image = torch.empty(1, 3, side, side).to(memory_format=torch.channels_last)
            numbers = image.nbytes + most_held(
                lambda image=image: family.aligned(network, image, [place], architecture)  # type: ignore[misc]
            )
            held.append(numbers / torch.float32.itemsize / side**2)
    quadratic = max(0.0, (held[1] - held[0]) / (_SIDES[1] ** 2 - _SIDES[0] ** 2))
    return max(h - quadratic * side**2 for h, side in zip(held, _SIDES, strict=True)), quadratic


@cache
def _look_at(architecture: str) -> _Network:
    """What there is to know of an architecture; no weights are made.

    Raises `InputError` where timm has none of this name, or it gives no feature maps.
    """
    import torch

    _require_name(architecture)
    # Random numbers of the caller are not used up by parameters that have no values.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model, options = _create_for_any_size(architecture)
        if not hasattr(model, "forward_intermediates"):
            raise InputError(
                f"architecture {architecture} gives no feature maps in timm; take another, such as "
                "timm/convnext_tiny or timm/vit_small_patch16_224"
            )
        info = [dict(entry) for entry in getattr(model.feature_info, "info", model.feature_info)]
        strides = [int(entry["reduction"]) for entry in info]
        plain = len(set(strides)) == 1
        image = torch.empty(1, 3, _ROWS * strides[-1], _COLS * strides[-1])
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str) -> Any:
            def hook(_: Any, __: Any, output: Any) -> None:
                if isinstance(output, torch.Tensor) and output.ndim == 4:
                    shapes[name] = tuple(output.shape)

            return hook

        for name, module in model.named_modules():
            if _BLOCK.fullmatch(name.rsplit(".", 1)[-1]):
                module.register_forward_hook(note(name))
        try:
            maps = model.forward_intermediates(image, intermediates_only=True)
        except Exception as error:  # timm's networks raise many types
            why = " ".join(str(error).split())[:80]
            raise InputError(
                f"architecture {architecture} does not take images of any size ({why}); take "
                "another, such as timm/convnext_tiny or timm/vit_small_patch16_224"
            ) from None
    stages, indices = [], {}
    for index, (entry, map_) in enumerate(zip(info, maps, strict=True)):
        if strides[index] >= _FINEST:
            name = str(entry["module"])
            stages.append(Place(name, map_.shape[1], strides[index]))
            indices[name] = index
    blocks, channels_last = _blocks(shapes, strides[-1])
    first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.stride[0] > 1)
    config = model.pretrained_cfg
    return _Network(
        options=options,
        stages=tuple(stages),
        blocks=tuple(stages) if plain else blocks,
        indices=indices,
        channels_last=channels_last,
        plain=plain,
        patches=first.kernel_size == first.stride,
        same_padding=type(first).__name__ == "Conv2dSame",
        statistics=(
            tuple(255 * float(value) for value in config["mean"]),
            tuple(255 * float(value) for value in config["std"]),
        ),
    )


def _create_for_any_size(architecture: str) -> tuple[Any, dict[str, Any]]:
    for options in _OPTIONS:
        try:
            return _create(architecture, options), dict(options)
        except TypeError:
            if not options:
                raise
        except RuntimeError as error:
            # A tag of weights that timm does not know.
            raise InputError(f"architecture {architecture}: {error}") from None
    raise AssertionError


def _blocks(
    shapes: Mapping[str, tuple[int, ...]], last_stride: int
) -> tuple[tuple[Place, ...], frozenset[str]]:
    """Blocks by the shapes of their outputs, and those that have channels last."""
    blocks, channels_last = [], set()
    rows, cols = _ROWS * last_stride, _COLS * last_stride
    for name, shape in shapes.items():
        for dimensions in (shape[2:], shape[1:3]):
            stride = rows // dimensions[0] if dimensions[0] else 0
            if stride >= _FINEST and dimensions == (rows // stride, cols // stride):
                last = dimensions != shape[2:]
                blocks.append(Place(name, shape[3] if last else shape[1], stride))
                if last:
                    channels_last.add(name)
                break
    return tuple(blocks), frozenset(channels_last)


def _require_name(architecture: str) -> None:
    import timm

    name, _, tag = architecture.removeprefix(PREFIX).partition(".")
    known = timm.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(PREFIX + other for other in near)}?" if near else ""
        raise InputError(f"architecture {architecture} is not one of timm's{hint}")
    if tag and f"{name}.{tag}" not in timm.models.get_arch_pretrained_cfgs(name):
        raise InputError(
            f"architecture {architecture}: timm has no weights {tag} of it{_with_weights(name)}"
        )


def _with_weights(name: str) -> str:
    """The tags of a network of timm that have weights, as the end of a message."""
    import timm

    configs = timm.models.get_arch_pretrained_cfgs(name)
    tagged = [full for full, config in configs.items() if config.has_weights and "." in full]
    more = f" and {len(tagged) - 5} more" if len(tagged) > 5 else ""
    return f"; take {' or '.join(PREFIX + full for full in tagged[:5])}{more}" if tagged else ""
