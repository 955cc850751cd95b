"""Masks of a run's own images, or of the same pictures at another size."""

from cyborgs.common.errors import InputError
from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.images.shrinking import original_name
from cyborgs.masks.alignment import is_same_picture, resample
from cyborgs.masks.shards import Labels, Masks, Shard, find_shards


class GivenMasks:
    """The masks that a run is given to begin with.

    They are of its index; or of another one, whose images are found by name and are the same
    pictures at another size, as a run on smaller copies (`data.short_side`) has it.

    Attributes:
        stride: of the shards, and of what is read.
        digest: of the shards' labels, as `Masks.digest`.
        resampled: whether they are of another index.

    Args:
        where: a folder of shards, a shard, or a pattern.
        index: of the run.

    Raises:
        InputError: as `Masks` does; and where they are of another index in which an image is
            missing or cannot be the same picture, or whose images are of the same sizes, so
            that nothing tells them from those of another data set.
    """

    def __init__(self, where: str, index: Index) -> None:
        self._positions: list[int] | None = None
        paths = find_shards(where)
        with Shard(paths[0]) as first:
            self.resampled = first.header.index != index.digest
        if self.resampled:
            theirs = _index_of(where)
            self._theirs = theirs.entries
            self._positions = _matched(where, index, theirs)
            if self._positions is None:
                # Refuses them.
                Masks(where, index)
            index = theirs
        self._masks = Masks(where, index, complete=not self.resampled)
        self.stride = self._masks.stride
        self.digest = self._masks.digest
        self.skipped = {} if self.resampled else self._masks.skipped

    def read(self, position: int, entry: Entry) -> Labels:
        """Labels ``(rows, cols)`` of the image at a position of the run's index."""
        if self._positions is None:
            return self._masks.read(position)
        position = self._positions[position]
        labels = self._masks.read(position)
        other = self._theirs[position]
        return resample(
            labels, (entry.height, entry.width), (other.height, other.width), self.stride
        )


def _index_of(where: str) -> Index:
    """What shards say of the index that the first of them was made for."""
    entries: dict[int, Entry] = {}
    digest = ""
    for path in find_shards(where):
        with Shard(path) as shard:
            digest = digest or shard.header.index
            # `Masks` refuses shards of two indexes.
            if shard.header.index != digest:
                continue
            columns = (shard.positions, shard.names, shard.heights, shard.widths)
            for position, name, height, width in zip(*columns, strict=True):
                entries[int(position)] = Entry(name, int(height), int(width), 0, 0)
    unknown = Entry("", 0, 0, 0, 0)
    return Index([entries.get(p, unknown) for p in range(max(entries) + 1)], digest)


def _matched(where: str, index: Index, theirs: Index) -> list[int] | None:
    """Positions of the images of an index in another one, by name.

    None where all have the same name and size, or no image is there at all.
    """
    named = {entry.name: p for p, entry in enumerate(theirs.entries) if entry.name}
    positions: list[int] = []
    missing: list[str] = []
    other_size = False
    for entry in index.entries:
        position = named.get(entry.name)
        if position is None:
            position = named.get(original_name(entry.name) or "")
            other_size |= position is not None
        if position is None:
            missing.append(entry.name)
            continue
        there = theirs[position]
        size, other = (entry.height, entry.width), (there.height, there.width)
        if not is_same_picture(size, other):
            raise InputError(
                f"masks {where}: that of image {there.name} is of {other[0]} x {other[1]} pixels "
                f"(height x width), the image {entry.name} of this run {size[0]} x {size[1]}, "
                "which cannot be one picture at two sizes; give the masks of these images"
            )
        other_size |= size != other
        positions.append(position)
    if not positions or not other_size:
        return None
    if missing:
        raise InputError(
            f"masks {where}: {len(missing)} of {len(index)} images have none, {missing[0]} among "
            "them; make masks of all images"
        )
    return positions
