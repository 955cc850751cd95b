"""Weights that a backbone's library publishes: where they are, and where its cache has them.

Nothing is downloaded here (`cyborgs.downloads.weights` does that).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Published(ABC):
    """Weights of a backbone.

    Attributes:
        architecture: such as ``timm/vit_small_patch14_dinov2``.
        licence: as the library states it; empty where it states none.
        origin: addresses and papers of the authors, where the library names them.
    """

    architecture: str
    licence: str = ""
    origin: tuple[str, ...] = ()

    @property
    @abstractmethod
    def page(self) -> str:
        """The address that people can look at."""

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where they are kept: a file, or a folder with nothing else in it."""

    @abstractmethod
    def cached(self) -> Path | None:
        """Their file, where the cache has it."""


@dataclass(frozen=True, kw_only=True)
class OnHub(Published):
    """Weights in a repository of Hugging Face's hub.

    Attributes:
        repository: such as ``timm/vit_small_patch14_dinov2.lvd142m``.
        files: names that their file may have in it; the first that is there counts.
    """

    repository: str
    files: tuple[str, ...]

    @property
    def page(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repository}"

    @property
    def place(self) -> Path:
        """The repository's folder in the hub's cache (``HF_HUB_CACHE``, ``HF_HOME``)."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        folder = repo_folder_name(repo_id=self.repository, repo_type="model")
        return Path(constants.HF_HUB_CACHE, folder)

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        for file in self.files:
            found = try_to_load_from_cache(self.repository, file)
            if isinstance(found, str):
                return Path(found)
        return None


@dataclass(frozen=True, kw_only=True)
class AtAddress(Published):
    """Weights that a server has as one file.

    Attributes:
        address: its URL.
        digest: first digits of its SHA-256; empty where the library does not check it.
    """

    address: str
    digest: str = ""

    @property
    def page(self) -> str:
        return self.address

    @property
    def place(self) -> Path:
        """The file in torch's cache (``TORCH_HOME``), where torchvision and timm look for it."""
        import torch

        return Path(torch.hub.get_dir(), "checkpoints", self.address.rsplit("/", 1)[-1])

    def cached(self) -> Path | None:
        return self.place if self.place.is_file() else None
