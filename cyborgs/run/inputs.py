"""What a run needs before any of it begins: the checks that both workflows make at their start."""

from pathlib import Path

from cyborgs.common.files import require_file
from cyborgs.config import Config
from cyborgs.evaluation.datasets import require_datasets
from cyborgs.images.listing import require_images


def require_inputs(config: Config) -> list[Path]:
    """Check that what a configuration names is there; loads no torch.

    Returns:
        The shards of seed masks that are given, if any.

    Raises:
        InputError: images, annotations, data sets of evaluations or masks that are missing.
    """
    assert config.data is not None  # checked with the configuration
    if config.data.images is not None:
        listed = None if config.data.list is None else Path(config.data.list)
        require_images(Path(config.data.images), config.pretrain.batch_size, listed)
    if config.data.annotations is not None:
        require_file(Path(config.data.annotations), "data.annotations:")
    require_datasets(Path(config.downstream.datasets), config.downstream.chosen)
    return config.seed_masks.shards()


def require_weights(config: Config) -> None:
    """Check that weights that a configuration asks for are there and fit.

    Loads torch: for the main process of a workflow, not for each job of a cluster.

    Raises:
        InputError: ImageNet's weights that evaluations ask for, or `model.weights`.
    """
    evaluated = map(config.downstream.settings, config.downstream.chosen)
    if any("imagenet" in section.backbones for section in evaluated):
        from cyborgs.evaluation.sources import imagenet_weights

        imagenet_weights(config.model.architecture)
    if config.model.weights is not None:
        from cyborgs.checkpoints.layouts import read_weights

        read_weights(Path(config.model.weights_file or ""), config.model.architecture)
