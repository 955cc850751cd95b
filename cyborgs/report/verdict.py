"""Whether a run worked: tiles and sentences that follow from the facts by fixed rules.

Nothing here reads a file.  A comparison is *better* or *worse* if its 95 % interval does not
contain 0, *not separable* if it does, and *not known* if there is no interval.  Masks are judged
by one measure everywhere, the adjusted Rand index over all pixels: of those measured, it is the
only one that does not rise just because there are more masks, or fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cyborgs.report.facts import (
    Backbone,
    Costs,
    Difference,
    Facts,
    Health,
    Judgement,
    Masks,
    Progress,
)

# Spread of the projections (`cyborgs.pretraining.watch`): the mean cosine of two projections is
# about 1 - spread^2, 0.96 and 0.75 at these.
COLLAPSED, NEAR_COLLAPSE = 0.2, 0.5

# Masks an image below which most images are a single mask.
_SINGLE = 1.5


@dataclass(frozen=True)
class Entry:
    """A number of a tile: large, its baseline, its details, and its judgement."""

    number: str
    beside: str
    detail: str
    word: str
    tone: str


@dataclass(frozen=True)
class Tile:
    """A tile: its name, what is measured, and one or two numbers."""

    name: str
    measure: str
    entries: list[Entry]


@dataclass(frozen=True)
class Verdict:
    """What the page begins with.

    Attributes:
        word: the verdict in a word or two.
        tone: "better", "worse", "unsure" or "unknown", for its colour.
        headline: a short sentence.
        sentences: the details.
        tiles: four.
    """

    word: str
    tone: str
    headline: str
    sentences: list[str]
    tiles: list[Tile]


class Outcome(Enum):
    """What the run came to, in the words of the page."""

    WORKED = "Worked"
    PARTLY = "Worked in part"
    FAILED = "Did not work"
    COLLAPSED = "Collapsed"
    UNKNOWN = "Not known"


_TONES = {
    Judgement.BETTER: "better",
    Judgement.WORSE: "worse",
    Judgement.EVEN: "unsure",
    Judgement.UNKNOWN: "unknown",
    Outcome.WORKED: "better",
    Outcome.PARTLY: "unsure",
    Outcome.FAILED: "worse",
    Outcome.COLLAPSED: "worse",
    Outcome.UNKNOWN: "unknown",
}


def verdict(facts: Facts) -> Verdict:
    """The tiles and sentences of a run, finished or not."""
    outcome = outcome_of(facts)
    progress = facts.progress
    sentences = [
        *_collapse_sentence(facts.health),
        *_mask_sentences(facts.masks, progress),
        *_backbone_sentences(facts.backbone),
    ]
    headline = _headline(outcome, facts)
    word = outcome.value
    only = _only_part(facts)
    if only and outcome not in (Outcome.COLLAPSED, Outcome.UNKNOWN):
        word = f"{word} ({only} only)"
    if not progress.finished:
        headline = f"Not finished ({progress.words}). {headline}"
        if outcome is not Outcome.COLLAPSED:
            word = "Under way" if outcome is Outcome.UNKNOWN else f"So far: {word.lower()}"
    tiles = [
        _mask_tile(facts.masks),
        _backbone_tile(facts.backbone),
        _collapse_tile(facts.health),
        _cost_tile(facts.costs),
    ]
    return Verdict(word, _TONES[outcome], headline, sentences, tiles)


def _only_part(facts: Facts) -> str:
    """The part that was measured, where the other was not."""
    parts = {"masks": _of_masks(facts.masks), "backbone": _of_backbone(facts.backbone)}
    known = [name for name, outcome in parts.items() if outcome is not None]
    return known[0] if len(known) == 1 else ""


def outcome_of(facts: Facts) -> Outcome:
    """What the run came to."""
    if collapse_of(facts.health) is Judgement.WORSE:
        return Outcome.COLLAPSED
    known = [p for p in (_of_masks(facts.masks), _of_backbone(facts.backbone)) if p is not None]
    if not known:
        return Outcome.UNKNOWN
    return known[0] if len(set(known)) == 1 else Outcome.PARTLY


def collapse_of(health: Health) -> Judgement:
    """Better: no sign of a collapse; even: near to it; worse: collapsed."""
    if health.masks is not None and health.masks < _SINGLE and not _single_seed(health):
        return Judgement.WORSE
    if not health.spreads:
        return Judgement.UNKNOWN
    last = health.spreads[-1]
    if last < COLLAPSED:
        return Judgement.WORSE
    return Judgement.EVEN if last < NEAR_COLLAPSE else Judgement.BETTER


def _single_seed(health: Health) -> bool:
    return health.seed_masks is not None and health.seed_masks < _SINGLE


def _judged(difference: Difference | None) -> Judgement:
    return Judgement.UNKNOWN if difference is None else difference.judgement


def _of_masks(masks: Masks) -> Outcome | None:
    seed, before = _judged(masks.seed), _judged(masks.before)
    if masks.oracle or masks.fixed or seed is Judgement.UNKNOWN:
        # No seed masks to beat: the annotations, or what training was told to keep.
        return {
            Judgement.BETTER: Outcome.WORKED,
            Judgement.EVEN: Outcome.FAILED,
            Judgement.WORSE: Outcome.FAILED,
            Judgement.UNKNOWN: None,
        }[before]
    if seed is Judgement.WORSE:
        return Outcome.FAILED
    if seed is Judgement.EVEN:
        return Outcome.PARTLY if before is Judgement.BETTER else Outcome.FAILED
    spoilt = before is Judgement.WORSE or _judged(masks.made) is Judgement.WORSE
    return Outcome.PARTLY if spoilt else Outcome.WORKED


def _of_backbone(backbone: Backbone) -> Outcome | None:
    random, initial = _judged(backbone.random), _judged(backbone.initial)
    known = [j for j in (random, initial) if j is not Judgement.UNKNOWN]
    if not known:
        return None
    if Judgement.WORSE in known:
        return Outcome.FAILED
    if all(j is Judgement.BETTER for j in known):
        return Outcome.WORKED
    return Outcome.PARTLY if Judgement.BETTER in known else Outcome.FAILED


def _headline(outcome: Outcome, facts: Facts) -> str:
    masks, backbone = _of_masks(facts.masks), _of_backbone(facts.backbone)
    if outcome is Outcome.COLLAPSED:
        return "It collapsed: the network is of no use, whatever the masks still score."
    if outcome is Outcome.UNKNOWN:
        return "It is not known yet whether it works: nothing was measured that could show it."
    if masks is not None and backbone is not None:
        return {
            Outcome.WORKED: "It worked: the masks and the backbone are better than what it began "
            "with.",
            Outcome.FAILED: "It did not work: neither the masks nor the backbone are better than "
            "what it began with.",
            Outcome.PARTLY: f"It worked in part: {_part(masks, 'masks')}, "
            f"{_part(backbone, 'backbone')}.",
        }[outcome]
    if masks is Outcome.FAILED and _judged(facts.masks.seed) is Judgement.WORSE:
        return "It did not work: the seed masks are better. The backbone was not measured."
    part, rest = ("masks", "backbone") if masks is not None else ("backbone", "masks")
    unmeasured = f"The {rest} {'was' if rest == 'backbone' else 'were'} not measured."
    word = {
        Outcome.WORKED: "It worked as far as it was measured",
        Outcome.FAILED: "It did not work as far as it was measured",
        Outcome.PARTLY: "It worked in part as far as it was measured",
    }[outcome]
    return f"{word}: {_part(outcome, part)}. {unmeasured}"


def _part(outcome: Outcome, part: str) -> str:
    verb = "are" if part == "masks" else "is"
    return {
        Outcome.WORKED: f"the {part} {verb} better than what it began with",
        Outcome.PARTLY: f"the {part} {verb} better in one comparison and not in the other",
        Outcome.FAILED: f"the {part} {verb} no better than what it began with",
    }[outcome]


_PHRASES = {
    Judgement.BETTER: "better than",
    Judgement.WORSE: "worse than",
    Judgement.EVEN: "not separable from",
    Judgement.UNKNOWN: "compared (without an interval) with",
}


def _compared(differences: Sequence[tuple[str, Difference | None]], digits: int) -> str:
    """ "better than A (0.1) but worse than B (0.2)"."""
    known = [(name, d) for name, d in differences if d is not None]
    phrases = [f"{_PHRASES[d.judgement]} {name} ({d.baseline:.{digits}f})" for name, d in known]
    if len(known) == 2:
        (_, one), (_, other) = known
        return f" {'and' if one.judgement is other.judgement else 'but'} ".join(phrases)
    return "".join(phrases)


def _mask_sentences(masks: Masks, progress: Progress) -> list[str]:
    if masks.seed is None and masks.before is None:
        return _unmeasured_masks(masks, progress)
    value = (masks.seed or masks.before or _NOTHING).value
    seed = "the annotations, which were its seed masks" if masks.oracle else "the seed masks"
    compared = _compared([(seed, masks.seed), ("the masks before training", masks.before)], 3)
    sentences = [
        f"The masks after round {masks.round} ({masks.kind}) score {value:.3f} in agreement with "
        f"the annotated objects: {compared}."
    ]
    if masks.fixed:
        sentences.append("Every round trained on the seed masks (pretrain.fixed_masks).")
    elif masks.made is not None and masks.made.judgement is not _judged(masks.seed):
        made = _compared([("the seed masks", masks.made)], 3)
        sentences.append(f"The masks that training used last score {masks.made.value:.3f}: {made}.")
    return sentences


# Stands where there is no comparison.
_NOTHING = Difference(0.0, 0.0, None, "")


def _unmeasured_masks(masks: Masks, progress: Progress) -> list[str]:
    if masks.labelled:
        if progress.finished:
            return ["The masks were not measured at a fixed K (quality.clusters)."]
        return ["The masks have not been measured yet."]
    sentences = ["There are no annotations, so nothing says whether the masks are good."]
    if masks.agreement is not None:
        sentences.append(
            f"The masks of the last two rounds agree by {masks.agreement:.2f} (1: they are the "
            "same), which says how stable they are, not how good."
        )
    return sentences


def _backbone_sentences(backbone: Backbone) -> list[str]:
    if backbone.random is None and backbone.initial is None:
        # The headline says so.
        return []
    value = (backbone.random or backbone.initial or _NOTHING).value
    compared = _compared(
        [
            ("random weights", backbone.random),
            ("the weights that it was given", backbone.initial),
        ],
        1,
    )
    return [
        f"The backbone after round {backbone.round} reaches {value:.1f} percent "
        f"({backbone.measure}): {compared}."
    ]


def _collapse_sentence(health: Health) -> list[str]:
    judgement = collapse_of(health)
    if judgement is Judgement.UNKNOWN:
        return []
    if health.masks is not None and health.masks < _SINGLE and not _single_seed(health):
        return [
            f"The masks have collapsed: most images are a single mask ({health.masks:.1f} masks "
            "an image)."
        ]
    last = health.spreads[-1]
    if judgement is Judgement.BETTER:
        return [f"Training did not collapse (spread of the projections {last:.2f})."]
    if judgement is Judgement.EVEN:
        return [
            f"Training is near a collapse: the spread of the projections is {last:.2f} (0 if all "
            "are the same)."
        ]
    epoch = 1 + next(n for n, spread in enumerate(health.spreads) if spread < COLLAPSED)
    return [
        f"Since epoch {epoch} the network gives almost the same projection for every mask: their "
        f"spread is {last:.2f} (0 if all are the same, about 1 if they are spread out)."
    ]


def _mask_tile(masks: Masks) -> Tile:
    unmeasured = "there are no annotations" if not masks.labelled else "not measured yet"
    entries = [
        _entry(d, beside, digits=3, unknown=unmeasured)
        for d, beside in (
            (masks.seed, "the seed masks"),
            (masks.before, "the network before training"),
        )
    ]
    if masks.labelled and masks.kind:
        measure = f"agreement with objects (ARI), {masks.kind}"
    else:
        measure = "agreement with objects (ARI)"
    return Tile("Masks", measure, entries)


def _backbone_tile(backbone: Backbone) -> Tile:
    pairs = [(backbone.random, "random weights")]
    if backbone.given:
        pairs.append((backbone.initial, "the given weights"))
    unmeasured = (
        f"to measure it, set in the configuration: {backbone.hint}"
        if backbone.hint
        else "not evaluated yet"
    )
    entries = [_entry(d, beside, digits=1, unknown=unmeasured) for d, beside in pairs]
    return Tile("Backbone", backbone.measure or "not evaluated", entries)


def _entry(difference: Difference | None, beside: str, *, digits: int, unknown: str) -> Entry:
    judgement = _judged(difference)
    if difference is None:
        return Entry("?", f"against {beside}", unknown, judgement.value, _TONES[judgement])
    detail = f"{difference.value:.{digits}f} against {difference.baseline:.{digits}f}"
    if difference.interval is not None:
        low, high = (signed(end, digits) for end in difference.interval)
        detail += f" · 95 %: {low} … {high}, {difference.over}"
    else:
        detail += f" · no interval: {difference.over}"
    return Entry(
        signed(difference.delta, digits),
        f"against {beside}",
        detail,
        judgement.value,
        _TONES[judgement],
    )


def _collapse_tile(health: Health) -> Tile:
    judgement = collapse_of(health)
    word = {
        Judgement.BETTER: "no collapse",
        Judgement.EVEN: "near collapse",
        Judgement.WORSE: "collapsed",
        Judgement.UNKNOWN: "not known",
    }[judgement]
    entries = []
    if health.spreads:
        first, last = health.spreads[0], health.spreads[-1]
        entries.append(
            Entry(
                f"{last:.2f}",
                f"against {first:.2f} in epoch 1",
                f"1: spread out, 0: all the same · lowest {min(health.spreads):.2f} of "
                f"{_count(len(health.spreads), 'epoch')}",
                word,
                _TONES[judgement],
            )
        )
    else:
        entries.append(Entry("?", "", "no epoch is finished", word, _TONES[judgement]))
    if health.masks is not None and health.seed_masks is not None:
        single = health.masks < _SINGLE and not _single_seed(health)
        entries.append(
            Entry(
                f"{health.masks:.1f}",
                "masks an image",
                f"the seed masks have {health.seed_masks:.1f}; near 1 is a collapse",
                "collapsed" if single else "",
                "worse" if single else "plain",
            )
        )
    return Tile("Collapse", "spread of the projections", entries)


def _cost_tile(costs: Costs) -> Tile:
    entries = []
    if costs.training or costs.masks:
        more = f"making masks {duration(costs.masks)}" if costs.training else ""
        entries.append(
            Entry(
                duration(costs.training + costs.masks),
                "of job time",
                f"training {duration(costs.training)}, {more}" if more else "making masks",
                "",
                "plain",
            )
        )
    if costs.speeds:
        ordered = sorted(costs.speeds)
        memory = [
            f"{size / 1e9:.1f} GB {name}"
            for size, name in ((costs.memory, "of memory"), (costs.gpu_memory, "of the GPU"))
            if size
        ]
        spread = f"{ordered[0]:,.0f} … {ordered[-1]:,.0f} over the epochs"
        entries.append(
            Entry(
                f"{ordered[len(ordered) // 2]:,.0f}",
                "images/s (median)",
                " · ".join([spread, *(f"peak: {m}" for m in memory)]),
                "",
                "plain",
            )
        )
    if not entries:
        entries.append(Entry("?", "", "no job is finished", Judgement.UNKNOWN.value, "unknown"))
    return Tile("Cost", "time, speed, memory", entries)


def signed(value: float, digits: int) -> str:
    """With its sign, a real minus; nothing before a zero."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """In the two units that matter: "3 d 4 h", "2 h 5 min", "4 min 10 s", "12 s"."""
    rest = round(seconds)
    for size, name, small, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if rest >= size:
            return f"{rest // size} {name} {rest % size // small} {smaller}"
    return f"{rest} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
