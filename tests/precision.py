"""Which tests need instructions for bfloat16."""

import pytest
import torch

from cyborgs.runtime.hardware import native_precisions

# Of tests that compute much: a CPU without the instructions takes minutes for each.  Small ones run
# everywhere.
needs_bfloat16 = pytest.mark.skipif(
    "bfloat16" not in native_precisions(torch.device("cpu")),
    reason="bfloat16 is emulated on this CPU, and takes minutes",
)
