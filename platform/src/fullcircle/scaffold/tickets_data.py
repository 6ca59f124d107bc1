"""The example data of a new project: half a year of made-up support tickets, whose world changes in the fourth month.

What decides whether a ticket misses its deadline is not linear on purpose (a phone call at night waits, a chat at
night does not), so that a small network has something to find that the logistic baseline cannot. In the fourth month
an app is launched: a topic appears that nobody had seen, the queues grow, and chats at night begin to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def tickets(month: str, *, rows: int = ROWS, seed: int = 7) -> pd.DataFrame:
    """One month of tickets in the order of time; the same seed gives the same bytes.

    Columns: ticket_id, opened_at (UTC), channel, plan, topic, hour, weekday, words, customer_days (missing for one
    in twelve), queue (tickets waiting), agents (people on shift), minutes_to_answer (known only afterwards) and the
    target `missed` (0 or 1).
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
    missed = random.random(rows) < 1 / (1 + np.exp(-_log_odds(frame, launched)))
    # An answer in time comes before the deadline and a missed one after it: this column IS the answer.
    minutes = np.where(missed, random.uniform(1.01, 6, rows), random.beta(2, 3, rows)) * DEADLINE_MINUTES
    frame["minutes_to_answer"] = minutes.round(1)
    frame["missed"] = missed.astype("int8")
    return frame


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
