"""``python -m cyborgs``, which is what torchrun starts."""

from cyborgs.cli import entry

if __name__ == "__main__":
    entry()
