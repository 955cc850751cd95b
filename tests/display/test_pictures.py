"""Pictures: the colours mean what they should."""

import itertools

import numpy as np
import pytest

from cyborgs.display.pictures import (
    Panel,
    match,
    overlay,
    paint,
    resized,
    sheet,
    thumbnail,
    truth_picture,
)
from cyborgs.images.annotations import Instances
from cyborgs.masks.palette import colours


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


def random_maps(seed, count=3, labels=5):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, labels, (6, 8)) * 100 for _ in range(count)]


class TestMatch:
    @pytest.mark.parametrize("seed", range(5))
    def test_partitions_stay(self, seed):
        maps = random_maps(seed)
        for before, after in zip(maps, match(maps), strict=True):
            assert same_partition(before, after)

    def test_the_first_is_numbered_by_area(self):
        (numbered,) = match([np.array([[9, 9, 9, 9], [500, 500, 0, 9]])])
        assert numbered.tolist() == [[0, 0, 0, 0], [1, 1, 2, 0]]

    def test_renamed_clusters_keep_their_numbers(self):
        a = np.array([[1, 1, 2, 2, 3, 3, 3]])
        b = np.array([[7, 7, 0, 0, 5, 5, 5]])
        first, second = match([a, b])
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("seed", range(5))
    def test_against_every_matching(self, seed):
        """The pixels that keep their number are as many as any one-to-one matching leaves."""
        maps = random_maps(seed, count=2, labels=4)
        first, second = match(maps)
        ours, theirs = np.unique(maps[0]), np.unique(maps[1])
        best = max(
            sum(
                np.count_nonzero((maps[0] == a) & (maps[1] == b))
                for a, b in zip(ours, order, strict=False)
            )
            for order in itertools.permutations(theirs)
        )
        assert np.count_nonzero(first == second) == best

    def test_a_new_cluster_takes_a_new_number(self):
        first, second = match([np.array([[0, 0, 0, 1]]), np.array([[0, 0, 4, 1]])])
        assert first.tolist() == [[0, 0, 0, 1]]
        assert second.tolist() == [[0, 0, 2, 1]]

    def test_a_cluster_that_comes_back_does_not_take_anothers_number(self):
        maps = [np.array([[0, 0, 0, 1]]), np.array([[5, 5, 5, 5]]), np.array([[3, 3, 3, 9]])]
        for before, after in zip(maps, match(maps), strict=True):
            assert same_partition(before, after)

    def test_nothing(self):
        assert match([]) == []


def test_paint_takes_the_palette():
    labels = np.array([[0, 3, 255, 256]], dtype=np.uint16)
    np.testing.assert_array_equal(paint(labels)[0], colours()[[0, 3, 255, 0]])


def test_an_overlay_has_white_lines_between_masks_alone():
    photograph = np.full((6, 8, 3), 120, dtype=np.uint8)
    labels = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 6, axis=0)
    picture = overlay(photograph, labels)
    assert (picture[:, 4] == 255).all()
    assert not (picture[:, [0, 1, 2, 3, 5, 6, 7]] == 255).all(axis=-1).any()
    expected = 0.45 * 120 + 0.55 * colours()[0].astype(float)
    np.testing.assert_allclose(picture[0, 0], expected, atol=0.51)
    assert (photograph == 120).all()


def test_ground_truth_is_coloured_and_the_rest_is_grey():
    photograph = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    masks = np.zeros((2, 20, 30), dtype=bool)
    masks[0, 2:18, 2:18] = masks[1, 5:9, 5:9] = True
    crowd = np.zeros((20, 30), dtype=bool)
    crowd[:, 24:] = True
    picture = truth_picture(photograph, Instances(masks, np.array([1, 2]), crowd))
    assert (np.ptp(picture[:, 20:], axis=-1) == 0).all()
    assert np.ptp(picture[10, 10]) > 20
    # The smaller one is on top, in another colour.
    mean = [picture[6:8, 6:8].mean(axis=(0, 1)), picture[12:16, 12:16].mean(axis=(0, 1))]
    assert np.abs(mean[0] - mean[1]).max() > 30
    # A part of the ignored region is white, a part is not.
    assert 0.2 < (picture[:, 25:] == 255).all(axis=-1).mean() < 0.8


def test_ground_truth_without_an_instance():
    photograph = np.full((4, 5, 3), 100, dtype=np.uint8)
    bare = Instances(np.zeros((0, 4, 5), bool), np.zeros(0, np.int64), np.zeros((4, 5), bool))
    assert (truth_picture(photograph, bare) == 115).all()


@pytest.mark.parametrize(("width", "shape"), [(4, (3, 4, 3)), (16, (12, 16, 3)), (1, (1, 1, 3))])
def test_a_thumbnail_keeps_the_shape(width, shape):
    assert thumbnail(np.zeros((6, 8, 3), np.uint8), width).shape == shape


def test_labels_of_another_size_are_those_under_the_centres():
    labels = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(resized(labels, 3, 4), labels)
    np.testing.assert_array_equal(resized(labels, 6, 8), labels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resized(labels, 1, 1), [[labels[1, 2]]])


class TestSheet:
    def panel(self, value, title="title"):
        # A colour, which no letter has.
        return Panel(title, "below", np.full((30, 40, 3), (value, 0, 200), dtype=np.uint8))

    def test_pictures_lie_side_by_side_and_below_one_another(self):
        page = sheet([[self.panel(110), self.panel(120)], [self.panel(130)]], width=80)
        assert page.shape[1] == 12 + 2 * 92
        found = {
            value: np.argwhere((page == (value, 0, 200)).all(axis=-1)) for value in (110, 120, 130)
        }
        for places in found.values():
            assert len(places) == 60 * 80
        assert found[110][:, 1].max() < found[120][:, 1].min()
        assert found[110][:, 0].max() < found[130][:, 0].min()

    def test_titles_are_drawn_and_do_not_run_into_the_next(self):
        short, long = (
            sheet([[self.panel(10, t), self.panel(20, "")]], 80) for t in ("a", "W" * 99)
        )
        for page in (short, long):
            assert (page[12:30, 12:92] < 128).any()
            assert (page[12:30, 93:104] == 255).all()

    def test_a_panel_without_a_picture_stays_white(self):
        page = sheet([[self.panel(10), Panel("t", "no mask", None)]], width=80)
        assert (page[-70:, 104:184] == 255).all()

    def test_names_that_are_no_text(self):
        sheet([[Panel(b"\xff.jpg".decode(errors="surrogateescape"), "ü", None)]], width=80)
