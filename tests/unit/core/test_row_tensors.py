"""Raw rows hold what the columns hold, or say which cell they cannot hold."""

from __future__ import annotations

import pandas as pd
import pytest

from fullcircle.core.project import Category
from fullcircle.core.row_tensors import raw_frame


@pytest.mark.parametrize("cell", [7, 7.0, True, b"7", ["7"]], ids=repr)
@pytest.mark.parametrize("others", [["a", None], [None, None], ["", "b"]], ids=repr)
def test_a_category_that_is_no_text_is_named_and_not_spelled_out(cell, others):
    frame = pd.DataFrame({"c": pd.Series([*others, cell], dtype=object)})

    with pytest.raises(ValueError, match="column 'c', row 2: a category is text, got"):
        raw_frame(frame, [Category("c")])


@pytest.mark.parametrize("kind", [object, "string", "category"])
def test_a_category_is_what_it_was_and_empty_where_it_is_missing(kind):
    frame = pd.DataFrame({"c": pd.Series(["a ", None, "", "007"], dtype=kind)})

    assert raw_frame(frame, [Category("c")])["c"].tolist() == ["a ", "", "", "007"]
