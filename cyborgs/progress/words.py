"""Times and metrics as words."""

from collections.abc import Mapping

from cyborgs.progress.jobs import Left

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clock(seconds: float) -> str:
    """A time that was taken: 0:41, 12:05, 3:02:07."""
    whole = int(seconds + 0.5)
    hours, minutes = whole // _HOUR, whole // _MINUTE % 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


def about(seconds: float) -> str:
    """A time that is estimated: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    if seconds < _DAY:
        minutes = round(seconds / _MINUTE / 10) * 10
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = round(seconds / _HOUR)
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def left(estimate: Left | None) -> str:
    """The time left of a run; "" where nothing is known."""
    if estimate is None:
        return ""
    # Where some jobs are of a kind that was not seen yet, there is more to come.
    return f"{'about' if estimate.whole else 'at least'} {about(estimate.seconds)} left"


def metrics(given: Mapping[str, float]) -> list[str]:
    """Of a training, each as a phrase."""
    phrases = []
    if "epoch" in given:
        phrases.append(f"epoch {given['epoch']:.0f}")
    if "loss" in given:
        phrases.append(f"loss {given['loss']:.4f}")
    if "images_per_second" in given:
        phrases.append(f"{given['images_per_second']:.1f} images/s")
    if "waiting" in given:
        phrases.append(f"{given['waiting']:.0%} waiting for data")
    return phrases
