"""``cyborgs data weights``: a backbone's published weights, into the cache that is read."""

from cyborgs.checkpoints.layouts import read_weights
from cyborgs.common.errors import InputError
from cyborgs.common.progress import say
from cyborgs.downloads.weights import fetch
from cyborgs.models.backbones import family_of, stages_of
from cyborgs.models.settings import PRETRAINED


def run(architecture: str, accept_terms: bool = False) -> None:
    """Fetch the weights that `model.weights: pretrained` means, unless they are there, and check.

    Prints the lines of a configuration that use them.

    Args:
        architecture: such as ``timm/vit_small_patch14_dinov2``, with one of timm's tags or without.
        accept_terms: whether the user accepts the terms of the weights.

    Raises:
        InputError: the architecture is unknown or has no published weights, the terms are not
            accepted, the weights cannot be fetched, or they do not fit the architecture.
    """
    stages_of(architecture)
    published = family_of(architecture).published(architecture)
    path = published.cached()
    if path is None:
        say(f"{architecture}: {published.page}")
        say(f"licence: {published.licence or 'not stated'}")
        if published.origin:
            say(f"origin: {', '.join(published.origin)}")
        say(f"stored in: {published.place}")
        if not accept_terms:
            raise InputError(
                f"{architecture}: fetching the weights accepts their terms: give --accept-terms, "
                "or set CYBORGS_ACCEPT_TERMS=1"
            )
        path = fetch(published)
        say(f"weights: {path}")
    else:
        say(f"weights: {path} is there already")
    try:
        read_weights(path, architecture, architecture)
    except InputError as error:
        raise InputError(f"{error}; to fetch it again, remove {published.place}") from None
    print(f"model:\n  architecture: {architecture}\n  weights: {PRETRAINED}")
