"""Storage reader and writer for torch's distributed checkpoint (DCP), without its pickle.

DCP writes tensors into `*.distcp` and reads them back with `weights_only`, but keeps its table of contents,
`.metadata`, as a pickle, which it would run whatever is in it. Here that table is `tensors.json`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

TABLE = "tensors.json"


class TensorWriter(FileSystemWriter):
    """Writes a state of tensors alone."""

    def finish(self, metadata: Metadata, results: list[list[Any]]) -> None:
        """Write the table of contents, once all ranks have written their tensors (called by DCP on one rank)."""
        tensors = {name: _described(name, entry) for name, entry in metadata.state_dict_metadata.items()}
        parts = [
            [part.index.fqn, _numbers(part.index.offset), part.index.index, *_place(part.storage_data)]
            for ranks_parts in results
            for part in ranks_parts
        ]
        with (Path(self.path) / TABLE).open("w") as stream:
            json.dump({"tensors": tensors, "parts": parts}, stream)
            stream.flush()
            os.fsync(stream.fileno())


class Reader(FileSystemReader):
    """Reads what `TensorWriter` has written."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The table of contents as DCP has it in memory.

        Raises:
            ValueError: it is no such table.
        """
        path = Path(self.path) / TABLE
        try:
            table = json.loads(path.read_bytes())
            tensors: dict[str, Any] = {name: _tensor(entry) for name, entry in table["tensors"].items()}
            places = {
                MetadataIndex(name, None if offset is None else torch.Size(offset), index): _StorageInfo(*place)
                for name, offset, index, *place in table["parts"]
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        if outside := [place for place in places.values() if Path(place.relative_path).name != place.relative_path]:
            raise ValueError(f"{path} names the file {outside[0].relative_path!r}, which is not beside it")
        return Metadata(tensors, storage_data=places, storage_meta=StorageMeta(load_id=self.load_id))


def _described(name: str, entry: Any) -> dict[str, Any]:
    assert isinstance(entry, TensorStorageMetadata), f"{name} is no tensor"
    chunks = [[_numbers(chunk.offsets), _numbers(chunk.sizes)] for chunk in entry.chunks]
    dtype = str(entry.properties.dtype).removeprefix("torch.")
    return {"dtype": dtype, "size": _numbers(entry.size), "chunks": chunks}


def _tensor(entry: dict[str, Any]) -> TensorStorageMetadata:
    dtype = getattr(torch, entry["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{entry['dtype']} is no type of number")
    chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in entry["chunks"]]
    return TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(entry["size"]), chunks)


def _numbers(size: torch.Size | None) -> list[int] | None:
    return None if size is None else list(size)


def _place(info: _StorageInfo) -> tuple[str, int, int]:
    assert not info.transform_descriptors, "nothing is compressed"
    return info.relative_path, info.offset, info.length
