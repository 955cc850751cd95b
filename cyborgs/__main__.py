"""``python -m cyborgs``, which is what starts each of several processes."""

from cyborgs.cli import entry

if __name__ == "__main__":
    entry()
