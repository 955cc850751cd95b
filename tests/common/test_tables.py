from cyborgs.common.tables import aligned


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [["a", "bbb", "c"], ["aa", "b", ""], ["", "", "ccc"]]
    assert aligned(rows) == "a   bbb  c\naa  b\n         ccc"
