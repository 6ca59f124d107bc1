"""Names of the tags and artifacts of a run, and how they are written and read back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.tasks import Task
from fullcircle.tracking.runs import run_tags
from fullcircle.tracking.secrets.detection import masked
from fullcircle.tracking.spool.spool_file import Inputs
from fullcircle.tracking.ui.review import rows_tags

DATA = "data/version.json"
"""Artifact: the data version that a run used."""
REQUIREMENTS, DIFF, NOT_KEPT = "environment/requirements.txt", "code/uncommitted.diff", "code/not_kept.json"
"""Artifacts that say where a run comes from; the last two only where something was not committed."""
MASKED = "code/masked.json"
"""Artifact: where secrets were masked in `DIFF`, without the secrets."""
MASKED_TAG, NOTE = "fullcircle.masked", "fullcircle.code.note"
"""Tags: what was masked in the run, the place behind a dot; and what is not known of the code, and why."""
COMMIT, DIRTY, BRANCH = "mlflow.source.git.commit", "mlflow.source.git.dirty", "mlflow.source.git.branch"
"""Tags: the commit of the code, `true` where something was changed since, and the branch; none outside git."""
PROVENANCE = "provenance.json"
"""Artifact: where the run comes from, in one place: code, environment, process; see `tracking.provenance.origin`."""
DIGEST = "fullcircle.digest"
"""Tag of a model version, and of MLflow's model behind it: SHA-256 of the graph."""
DATA_DIGEST = "fullcircle.data.digest"
"""Tag of model versions: the data version that they come from. Of runs: `tracking.runs.run_tags.DATA`."""
RETRAIN, ORPHAN = "fullcircle.retrain", "fullcircle.orphan"
"""Tags of a version: by which retrain's run it was made, and why nobody will ever release it."""


def score_tag(task: Task) -> str:
    """Tag of a model version that holds its primary metric on the test rows, such as `fullcircle.test_roc_auc`."""
    return f"fullcircle.test_{task.primary}"


def data_version(text: str) -> DataVersion:
    """The data version that `store.json_values.to_json` wrote. Raises DataUnavailable when the text is damaged."""
    try:
        fields = json.loads(text)
        files = tuple((str(name), str(md5)) for name, md5 in fields.pop("files"))
        start, end = (datetime.fromisoformat(fields.pop(name)) for name in ("start", "end"))
        return DataVersion(files=files, start=start, end=end, **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataUnavailable(f"the data version kept with the run is damaged ({error})") from error


def data_tags(version: DataVersion) -> dict[str, str]:
    """The tags that answer "what data" to a list of runs and to a search; all else of it is in its artifacts."""
    return {run_tags.DATA: version.digest, run_tags.ROWS: f"{version.rows:,}", **rows_tags(version)}


def dataset_input(version: DataVersion, remote: str) -> Inputs:
    """The data version as the dataset that MLflow shows with a run. `remote`: where it can be had again."""
    return Inputs(
        name=version.project,
        digest=version.digest,  # `<md5>.dir` is 36 characters, exactly MLflow's limit
        source_type="s3" if remote.startswith("s3://") else "local",
        source=json.dumps({"uri": masked(remote)[0]}),
        profile=json.dumps({"num_rows": version.rows, "size_bytes": version.size_bytes}),
        context="training",
    )


def metrics_of(evaluation: Evaluation, prefix: str) -> dict[str, float]:
    """Flat metrics: `<prefix>_roc_auc`, `<prefix>_roc_auc_low`, `<prefix>_roc_auc_high` and so on, rows included."""
    flat: dict[str, float] = {f"{prefix}_rows": float(evaluation.rows)}
    for name, interval in evaluation.metrics.items():
        flat[f"{prefix}_{name}"] = interval.value
        flat[f"{prefix}_{name}_low"] = interval.low
        flat[f"{prefix}_{name}_high"] = interval.high
    return flat


def flat_params(values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """MLflow parameters: mappings become dotted names, all else its text, cut to MLflow's 6,000 characters."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_params({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            yield key, str(value)[:6000]
