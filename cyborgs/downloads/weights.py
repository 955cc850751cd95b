"""Published weights of backbones into the caches of the libraries that publish them.

The libraries download: Hugging Face's hub, which continues cut connections, and torch.hub.
"""

import http.client
import socket
import sys
from pathlib import Path

from cyborgs.common.errors import MACHINE_FAULTS, InputError
from cyborgs.downloads.fetching import reason
from cyborgs.models.backbones.published import AtAddress, OnHub, Published

# Seconds without a byte after which a connection counts as cut; torch.hub waits for ever.
_PATIENCE = 60


def fetch(published: Published) -> Path:
    """Download weights that the cache does not have; returns their file in it.

    Raises:
        InputError: no connection, no such repository or file, a repository that needs a login,
            other bytes than the address says, or no room on the disk.
    """
    if isinstance(published, OnHub):
        return _from_hub(published)
    assert isinstance(published, AtAddress)
    return _from_address(published)


def _from_hub(published: OnHub) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    page = published.page
    for file in published.files:
        try:
            return Path(hf_hub_download(published.repository, file))
        except GatedRepoError:
            raise InputError(
                f"{page} needs a login: ask for access on that page, then run `hf auth login`"
            ) from None
        except RepositoryNotFoundError:
            # The hub says the same of repositories that a visitor may not see.
            raise InputError(
                f"{page} does not exist or needs a login: look at the page, and run `hf auth "
                "login` if it asks for one"
            ) from None
        except LocalEntryNotFoundError as error:
            cause = error.__cause__
            if isinstance(cause, OfflineModeIsEnabled):
                raise InputError(
                    f"{page}: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is "
                    "downloaded; unset it"
                ) from None
            raise _failure(published, cause or error) from None
        except EntryNotFoundError:
            continue
        # Its HTTP library, which is another one in other versions, raises types of its own.
        except Exception as error:
            raise _failure(published, error) from None
    raise InputError(f"{page} has no {' and no '.join(published.files)}")


def _from_address(published: AtAddress) -> Path:
    import torch

    path = published.place
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            published.address,
            str(path),
            hash_prefix=published.digest or None,
            progress=sys.stderr.isatty(),
        )
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise _failure(published, error) from None
    finally:
        socket.setdefaulttimeout(patience)
    return path


def _failure(published: Published, error: BaseException) -> InputError:
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        return InputError(f"{published.place}: {error.strerror}")
    told = " ".join(reason(error).split())[:200]
    return InputError(f"{published.page}: {told}; check the connection and start again")
