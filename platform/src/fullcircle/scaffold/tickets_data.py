"""The example data of a new project: half a year of made-up support tickets, whose world changes in the fourth month.

Every kind of project looks at the same tickets, and at something else that becomes of them (OUTCOMES). What decides it
is not linear on purpose (a phone call at night waits, a chat at night does not), so that a small network has something
to find that the linear baseline cannot. In the fourth month an app is launched: a topic appears that nobody had seen,
the queues grow, and chats at night begin to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06")
LAUNCH = "2024-04"
"""The month in which the world changes."""
ROWS = 2_000
"""Tickets a month."""

CHANNELS = ("chat", "email", "phone", "portal")
PLANS = ("enterprise", "free", "pro")
TOPICS = ("billing", "delivery", "login", "refund")
LAUNCHED_TOPIC = "app"
DEADLINE_MINUTES = 240
TEAMS = ("accounts", "field", "frontline", "technical")
TAGS = ("bug", "complaint", "feedback", "urgent")
NO_TAG = "no tag"


def tickets(month: str, *, kind: str = "binary", rows: int = ROWS, seed: int = 7) -> pd.DataFrame:
    """One month of tickets in the order of time; the same seed gives the same bytes.

    Columns: ticket_id, opened_at (UTC), channel, plan, topic, hour, weekday, words, customer_days (missing for one
    in twelve), queue (tickets waiting), agents (people on shift), and what became of it: the target, and one
    column that gives the target away, known only afterwards. By `kind`, see OUTCOMES.
    """
    import pandas as pd

    random = np.random.default_rng([seed, int(month.replace("-", ""))])
    launched = month >= LAUNCH
    start = pd.Timestamp(month, tz="UTC")
    seconds = int((start + pd.offsets.MonthBegin(1) - start).total_seconds())
    opened = start + pd.to_timedelta(np.sort(random.choice(seconds, size=rows, replace=False)), unit="s")
    hour, weekday = np.asarray(opened.hour), np.asarray(opened.dayofweek)
    topics = (*TOPICS, LAUNCHED_TOPIC) if launched else TOPICS
    agents = np.where((hour < 7) | (hour > 19), random.integers(2, 6, rows), random.integers(6, 15, rows))
    frame = pd.DataFrame(
        {
            "ticket_id": [f"{month}-{number:05d}" for number in range(rows)],
            "opened_at": opened.astype("datetime64[us, UTC]"),
            "channel": random.choice(CHANNELS, rows, p=(0.3, 0.3, 0.25, 0.15)),
            "plan": random.choice(PLANS, rows, p=(0.2, 0.45, 0.35)),
            "topic": random.choice(
                topics, rows, p=(0.18, 0.16, 0.18, 0.08, 0.40) if launched else (0.3, 0.25, 0.3, 0.15)
            ),
            "hour": hour.astype("int64"),
            "weekday": weekday.astype("int64"),
            "words": np.clip(random.lognormal(4.3, 0.7, rows), 3, 2_000).round().astype("int64"),
            "customer_days": np.where(random.random(rows) < 1 / 12, np.nan, random.gamma(1.4, 300, rows).round()),
            "queue": random.poisson(agents * random.uniform(1.0, 4.5 if launched else 3.5, rows)).astype("int64"),
            "agents": agents.astype("int64"),
        }
    )
    return frame.assign(**OUTCOMES[kind](frame, launched, random))


def _missed(frame: pd.DataFrame, launched: bool, random: np.random.Generator) -> dict[str, Any]:
    """`missed`, 0 or 1; minutes_to_answer gives it away."""
    rows = len(frame)
    missed = random.random(rows) < 1 / (1 + np.exp(-_log_odds(frame, launched)))
    # An answer in time comes before the deadline and a missed one after it: this column IS the answer.
    minutes = np.where(missed, random.uniform(1.01, 6, rows), random.beta(2, 3, rows)) * DEADLINE_MINUTES
    return {"minutes_to_answer": minutes.round(1), "missed": missed.astype("int8")}


def _minutes(frame: pd.DataFrame, launched: bool, random: np.random.Generator) -> dict[str, Any]:
    """`minutes_to_answer`, above 0; minutes_to_close, some more of them, give it away."""
    # Logistic noise: the deadline is missed as often as the log-odds say.
    late = _log_odds(frame, launched) + random.logistic(size=len(frame))
    minutes = np.maximum(0.1, (DEADLINE_MINUTES * np.exp(0.25 * late)).round(1))
    closed = (minutes * random.uniform(1.0, 1.2, len(frame))).round(1)
    return {"minutes_to_close": closed, "minutes_to_answer": minutes}


def _team(frame: pd.DataFrame, launched: bool, random: np.random.Generator) -> dict[str, Any]:
    """`team`, one of TEAMS; `solver`, the name of the desk that solved it, gives it away."""
    channel, plan, topic = frame["channel"], frame["plan"], frame["topic"]
    night, weekend = ~frame["hour"].between(7, 19), frame["weekday"] >= 5
    long = np.log(frame["words"] / 75)
    nightly_chat = (channel == "chat") & night
    odds = {
        "accounts": 1.8 * topic.isin(("billing", "refund")) + 2.0 * ((plan == "enterprise") & ~weekend),
        "field": 2.2 * (topic == "delivery") + 2.4 * ((channel == "phone") & night) - 0.4 * long,
        # Until the launch a machine answers chats at night; afterwards the technicians must.
        "frontline": 0.8 - 0.8 * long + (0.0 if launched else 3.0) * nightly_chat + 0.8 * weekend,
        "technical": 1.2 * (topic == "login") + 2.2 * (topic == LAUNCHED_TOPIC) + 0.7 * long
        + (3.0 if launched else 0.0) * nightly_chat,
    }  # fmt: skip
    # The largest of the log-odds with Gumbel noise is a draw by the softmax of the log-odds.
    noisy = np.stack([odds[team].to_numpy(dtype=np.float64) for team in TEAMS], axis=1)
    chosen = np.array(TEAMS, dtype=object)[np.argmax(noisy + random.gumbel(size=noisy.shape), axis=1)]
    desks = random.integers(1, 5, len(frame))
    return {"solver": [f"{team}-{desk}" for team, desk in zip(chosen, desks, strict=True)], "team": chosen}


def _tags(frame: pd.DataFrame, launched: bool, random: np.random.Generator) -> dict[str, Any]:
    """`tags`, a list of any of TAGS; `closing_note` gives them away."""
    channel, topic = frame["channel"], frame["topic"]
    long = np.log(frame["words"] / 75)
    load = frame["queue"] / frame["agents"]
    odds = {
        "bug": -1.6 + 1.4 * (topic == "login") + 2.4 * (topic == LAUNCHED_TOPIC) + 0.5 * long,
        "complaint": -2.4 + 1.8 * (topic == "refund") + 1.0 * (topic == "delivery") + 0.6 * (load - 2.0),
        "feedback": -1.4 + 1.2 * (channel == "portal") - 1.0 * (channel == "phone") + 0.8 * long,
        "urgent": 0.3 + _log_odds(frame, launched),
    }
    chances = 1 / (1 + np.exp(-np.stack([np.asarray(odds[tag], dtype=np.float64) for tag in TAGS], axis=1)))
    has = random.random(chances.shape) < chances
    tags = [[tag for tag, there in zip(TAGS, row, strict=True) if there] for row in has]
    return {"closing_note": [" ".join(each) or NO_TAG for each in tags], "tags": tags}


OUTCOMES: dict[str, Callable[[pd.DataFrame, bool, np.random.Generator], dict[str, Any]]] = {
    "binary": _missed,
    "regression": _minutes,
    "multiclass": _team,
    "multilabel": _tags,
}
"""Kind of project -> what becomes of tickets: the column that gives the target away, then the target."""


def _log_odds(frame: pd.DataFrame, launched: bool) -> NDArray[np.float64]:
    """Log-odds of missing the deadline, shape (rows,)."""
    hour, weekday = frame["hour"].to_numpy(), frame["weekday"].to_numpy()
    channel, plan, topic = frame["channel"].to_numpy(), frame["plan"].to_numpy(), frame["topic"].to_numpy()
    night, weekend = (hour < 7) | (hour > 19), weekday >= 5
    load = frame["queue"].to_numpy() / frame["agents"].to_numpy()
    odds = -1.3 + 0.9 * (load - 2.0) + 0.4 * np.log(frame["words"].to_numpy() / 75)
    odds = odds + np.where(channel == "phone", np.where(night, 2.2, -1.2), 0.0)
    # Until the launch a machine answers chats at night; afterwards it is switched off.
    odds = odds + np.where(channel == "chat", np.where(night, 1.8 if launched else -2.0, 0.8), 0.0)
    odds = odds + np.where(plan == "enterprise", np.where(weekend, 1.6, -1.4), 0.0)
    odds = odds + np.where(topic == "refund", 0.6, 0.0) + np.where(topic == LAUNCHED_TOPIC, 2.0, 0.0)
    return np.asarray(odds, dtype=np.float64)
