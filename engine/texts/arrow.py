"""The bytes of a table to columns of text, by way of Hugging Face ``datasets`` and Arrow.

``datasets`` is given a private copy in a folder of its own. So no cache can be stale, no lock or Arrow file stays behind,
and names with ``[``, ``*`` or ``::`` are not taken for patterns or chained addresses.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from engine.errors import DataError


def read_with_datasets(
    path: Path, kind: Literal["csv", "parquet"], data: bytes, column_names: list[str] | None = None, **options: Any
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Read the bytes of a table; return its columns as text and the names of those that are no text.

    The whole table is read into memory and not streamed: a streamed one imports torch, which takes seconds.

    Args:
        path: where the bytes are from, for errors.
        kind: their format.
        data: the bytes.
        column_names: the columns of a CSV, all of them read as text.
        options: further options of `datasets.Dataset.from_csv`, which go to pandas.

    Raises:
        DataError: if ``datasets`` cannot make a table of them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, Features, Value, disable_progress_bars  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetsError  # type: ignore[import-untyped]
    from datasets.utils.logging import set_verbosity  # type: ignore[import-untyped]

    disable_progress_bars()
    set_verbosity(logging.CRITICAL)  # what it logs as an error, it also raises
    try:
        with tempfile.TemporaryDirectory(prefix="chhatni-") as folder:
            copy = Path(folder) / f"table.{kind}"
            copy.write_bytes(data)
            options |= {"keep_in_memory": True, "cache_dir": str(Path(folder) / "cache")}
            if kind == "csv":
                features = Features({name: Value("string") for name in column_names or []})
                dataset = Dataset.from_csv(str(copy), features=features, column_names=column_names, **options)
            elif pq.read_metadata(copy).num_rows == 0:  # which datasets takes for an error
                return {}, ()
            else:
                dataset = Dataset.from_parquet(str(copy), **options)
            table = dataset.with_format("arrow")[:]
    except (pa.ArrowException, DatasetsError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # The readers' own ways to say that bytes are no table (the last three: garbled notes of datasets in the schema),
        # and a full disk under the copy.
        reason = str(error.__cause__ or error).strip().split("\n")[0][:200].rstrip(".")
        raise DataError(
            f"{path} cannot be read as {kind}: {reason}. Save the table again, as CSV in UTF-8.", path
        ) from None
    return _as_text(path, table, dataset.features)


def _as_text(path: Path, table: Any, features: Mapping[str, Any]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Turn an Arrow table into lists of strings, one a column; a missing value is an empty string."""
    import pyarrow as pa

    columns: dict[str, list[str]] = {}
    nested: list[str] = []
    for name in table.column_names:
        kind = table.schema.field(name).type
        class_names = getattr(features.get(name), "names", None)
        try:
            if class_names is not None:  # ClassLabel writes -1 where a label is not known
                ids = table[name].to_pylist()
                columns[name] = ["" if i is None or i < 0 else str(class_names[i]) for i in ids]
            elif pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                nested.append(name)
            else:
                plain = table[name].cast(kind.value_type) if pa.types.is_dictionary(kind) else table[name]
                missing = "nan" if pa.types.is_floating(plain.type) else ""  # a number that is missing
                texts = plain.cast(pa.large_string()).to_pylist()
                columns[name] = ["" if value is None or value == missing else value for value in texts]
        except pa.ArrowNotImplementedError:  # a type that has no form as text
            nested.append(name)
        except (pa.ArrowException, UnicodeDecodeError, IndexError) as error:
            raise DataError(
                f"{path}: column {name!r} is damaged ({error}). Save the table again, as CSV in UTF-8.", path
            ) from None
    return columns, tuple(nested)
