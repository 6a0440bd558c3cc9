"""The answer without a model: the ranked evidence as short prose, every sentence of it cited. Pure.

Cause first, then what supports it, then what the runbook says to do next; at most a screen. What kind of answer it is
follows the intent of the question.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cag.clock import Clock
from cag.incidents import named_runbook
from cag.inert import name, plain
from cag.rank import mentioned
from cag.steps import read_steps
from cag.tell import Numbered, Teller, group
from schemas.context import Context, Evidence, Intent, Plan
from schemas.runbooks import HEADING_SEPARATOR

SUPPORTING, LISTED, STEPS = 5, 8, 4
LISTED_INCIDENTS: Final = 5
INCIDENTS: Final = 3  # told before the evidence, where something else was asked for
_TROUBLE: Final = frozenset({"diagnose", "why", "fix", "health"})
MOST_LINES, MOST_CHARS = 25, 1_800
WORTH_NAMING: Final = 0.55  # score below which nothing is called a cause
OWN: Final = 0.9  # entity part of a score from which it is about the very thing that was asked about
NEWS: Final = 0.5  # part of a score from which a number is worth a word
AGREED: Final = 0.6  # severity times novelty of a log line: of an error at odds of 1 in 60, of a warning 1 in 1,000
WORST: Final = 1.0  # severity of what is never ordinary: fatal lines, and events that name a cause
DESCRIBED: Final = 0.8  # relevance of an error from which the question describes it, so that it need not be new
REPEATED: Final = 3  # times until another warning of Kubernetes is more than a start: a probe's failureThreshold
SUBJECTS, NAME_CHARS = 3, 63
# Reasons of events that say that somebody or something changed what runs.
_CHANGE: Final = re.compile(r"(?:Successful)?(?:Scal|Rescale|Rollout|Deploy|Pull|Create|Delete)|Killing|ImageChange")


@dataclass(slots=True)
class Section:
    """A paragraph: `head`, then a list. The list gives way when the whole is longer than a screen."""

    head: str
    items: list[str] = field(default_factory=list)
    least: int = 1  # items that stay


@dataclass(frozen=True, slots=True)
class _Material:
    """What an answer is made from."""

    context: Context
    facts: list[Numbered]  # but incidents
    guides: list[Numbered]
    teller: Teller
    incidents: list[Numbered] = field(default_factory=list)

    @property
    def about(self) -> str:
        """What was asked about; empty for everything."""
        plan = self.context.plan
        asked = plan.pods or plan.workloads or plan.nodes or plan.alerts or plan.namespaces
        return " and ".join(name(each[:NAME_CHARS]) for each in asked[:SUBJECTS])

    @property
    def span(self) -> str:
        span = self.context.plan.span
        return self.teller.clock.when(span.start, span.end)

    @property
    def watched(self) -> int:
        """Sources that were heard of what was asked about."""
        plan, sources = self.context.plan, self.context.freshness.sources
        return sum(not plan.workloads or source.workload in plan.workloads for source in sources)

    @property
    def wrong(self) -> list[Numbered]:
        wrong = called_wrong(self.context.plan, [fact[1] for fact in self.facts])
        return [fact for fact in self.facts if fact[1] in wrong]


def extractive_answer(context: Context, cited: Sequence[Evidence]) -> str:
    """Numbers in brackets are positions in `cited`, from 1."""
    numbered = list(enumerate(cited, 1))
    facts = [(n, e) for n, e in numbered if e.kind not in ("runbook", "incident")]
    guides = [(n, e) for n, e in numbered if e.kind == "runbook"]
    incidents = [(n, e) for n, e in numbered if e.kind == "incident" and _near(context.plan, e)]
    material = _Material(context, facts, guides, Teller(Clock.of(context.plan)), incidents)
    if context.plan.incidents:
        return _fitted(_incidents(material))
    told = [material.teller.one(*each) for each in incidents[:INCIDENTS]]
    if told and context.plan.intent in _TROUBLE:
        rest = _ANSWERS[context.plan.intent](material) if facts else _steps(material)
        return _fitted([*_list("**Known incidents:**", told), *rest])
    if not facts and guides and (context.plan.about == "runbook" or context.plan.intent == "fix"):
        return _fitted(_steps(material) or [Section(_nothing(material))])
    if not facts and not (context.plan.intent == "health" and material.watched):
        return _fitted([Section(_nothing(material)), *_steps(material)])
    return _fitted(_ANSWERS[context.plan.intent](material))


def _incidents(material: _Material) -> list[Section]:
    """What was asked for: how many, which, what to do; and where there is none, what that rests on."""
    asked, found = material.context.plan.incidents, material.incidents
    about = f" with {material.about}" if material.about else ""
    # Incidents come before all else that an answer rests on, so it is cut only when nothing else is in it.
    cut = "at least " if found and len(found) == len(material.context.evidence) else ""
    many = f"{cut}{len(found)} {'incident' if len(found) == 1 else 'incidents'}"
    head, none = {
        "open": (f"{many} open{about}", f"No incident is open{about}"),
        "resolved": (f"{many} resolved{about}{material.span}", f"No incident was resolved{about}{material.span}"),
    }.get(asked, (f"{many}{about}{material.span}", f"No incident is known{about}{material.span}"))
    if not found:
        return [*_uneventful(material, f"**{none}**", of_range=False), *_beside(material)]
    told = [material.teller.one(*each) for each in found]
    more = [] if cut or asked != "open" else [Section(f"Nothing else is open{about}.")]
    items = [f"- {each}" for each in told[:LISTED_INCIDENTS]]
    items += [f"- and {len(told) - len(items)} more"] if len(told) > len(items) else []
    listed = Section(f"**{head[0].upper()}{head[1:]}:**", items, least=len(items))  # what is counted is shown
    return [listed, *more, *_steps(material, of=found[0][1].text)]


def _beside(material: _Material) -> list[Section]:
    told = [material.teller.group(each) for each in group(material.wrong)[:SUPPORTING]]
    return _list("**What stands out all the same:**", told)


def _diagnose(material: _Material) -> list[Section]:
    """The cause, what else points to it, the next step."""
    wrong = material.wrong
    if not wrong:
        return [*_uneventful(material), *_steps(material)]
    lead = wrong[0]
    rest = [fact for fact in material.facts if fact is not lead]
    told = [material.teller.group(each) for each in group(rest)[:SUPPORTING]]
    return [Section(_lead(material, *lead)), *_list("**Also seen:**", told), *_steps(material)]


def _why(material: _Material) -> list[Section]:
    """The cause, then the chain in order of time, the next step."""
    wrong = material.wrong
    if not wrong:
        return [*_uneventful(material), *_steps(material)]
    chain = group([fact for fact in material.facts if fact is not wrong[0]])[:SUPPORTING]
    chain.sort(key=lambda facts: (_began(facts[0][1]), facts[0][0]))
    told = [material.teller.group(each) for each in chain]
    return [Section(_lead(material, *wrong[0])), *_list("**How it unfolded:**", told), *_steps(material)]


def _fix(material: _Material) -> list[Section]:
    """The steps first, then what they are for."""
    steps = _steps(material)
    if not steps:
        return [Section("No runbook section was found for this."), *_diagnose(material)]
    wrong = [material.teller.group(each) for each in group(material.wrong)[:SUPPORTING]]
    return [*steps, *_list("**Why:**", wrong)]


def _health(material: _Material) -> list[Section]:
    wrong = material.wrong
    about = material.about or "what runs here"
    if wrong:
        told = [material.teller.group(each) for each in group(wrong)[: SUPPORTING + 1]]
        return [*_list(f"**Not healthy:** something is wrong with {about}{material.span}.", told), *_steps(material)]
    if not material.watched:
        return [Section(f"I cannot tell whether {about} is well{material.span}: no source of it is known.")]
    return _uneventful(material, "**Nothing wrong seen**")


def _change(material: _Material) -> list[Section]:
    """Changes of what was asked about with their times first, then those of others, then what else happened."""
    teller, plan = material.teller, material.context.plan
    changes = [f for f in material.facts if f[1].kind == "event" and _CHANGE.match(f[1].title or f[1].text)]
    rest = [fact for fact in material.facts if fact not in changes]
    changes.sort(key=lambda f: (_began(f[1]), f[0]))
    mine = [teller.dated(*fact) for fact in changes if _own(plan, fact[1])]
    others = [teller.dated(*fact) for fact in changes if not _own(plan, fact[1])]
    about = f" in {material.about}" if material.about else ""
    seen = [teller.group(each) for each in group(rest)[:SUPPORTING]]
    elsewhere = _list("**What changed elsewhere:**", others[:SUPPORTING])
    if not mine:
        none = f"No rollout, scaling or new image{about} was seen{material.span}."
        return [Section(none), *elsewhere, *_list("**What happened then:**", seen)]
    return [
        *_list(f"**What changed{about}**{material.span}:", mine[:LISTED]),
        *elsewhere,
        *_list("**What else was seen:**", seen[: SUPPORTING - 2]),
    ]


def _compare(material: _Material) -> list[Section]:
    plan = material.context.plan
    if plan.compared is None:
        return _diagnose(material)
    then = material.teller.clock.when(plan.compared.start, plan.compared.end)
    told = [material.teller.compared(*fact) for fact in material.facts[:LISTED]]
    return [*_list(f"**What differs**{material.span} (now) from what was{then} (then):", told), *_steps(material)]


def _show(material: _Material) -> list[Section]:
    about = f" about {material.about}" if material.about else ""
    told = [material.teller.one(*fact) for fact in material.facts[:LISTED]]
    return _list(f"**Found{about}**{material.span}, the most relevant first:", told)


_ANSWERS: Final[dict[Intent, Callable[[_Material], list[Section]]]] = {
    "diagnose": _diagnose, "why": _why, "fix": _fix, "health": _health, "change": _change, "compare": _compare,
    "show": _show,
}  # fmt: skip


def _lead(material: _Material, number: int, piece: Evidence) -> str:
    """A log or an event is a cause; an alert or a number shows that there is one."""
    if piece.kind in ("alert", "metric"):
        return f"**Most likely connected:** {material.teller.one(number, piece)}"
    itself = " itself" if piece.workload and piece.workload in material.context.plan.workloads else ""
    return f"**Most likely**{material.teller.cause(number, piece, itself)}"


def _uneventful(material: _Material, said: str = "**Nothing stands out**", *, of_range: bool = True) -> list[Section]:
    """Something was seen, and nothing of it is wrong. `of_range`: said of the range, and with what is closest to it."""
    seen, watched = material.context.freshness, material.watched
    about = f" with {material.about}{material.span}" if material.about else material.span
    about = about if of_range else ""
    until = f", newest data {material.teller.clock.at(seen.newest)}" if seen.newest else ""
    of = f"{watched} {'source' if watched == 1 else 'sources'}{until}" if watched else "no source of it is known"
    more = " Not everything could be seen: what was missing is said below." if seen.missing else ""
    sections = [Section(f"{said}{about}: {of}.{more}")]
    if material.facts and of_range:
        sections.append(Section(f"The closest is this: {material.teller.one(*material.facts[0])}"))
    return sections


def _nothing(material: _Material) -> str:
    about = f" about {material.about}" if material.about else ""
    return (
        f"I found nothing{about}{material.span}. That is not proof that nothing happened: see below what could be seen."
    )


def _steps(material: _Material, of: str = "") -> list[Section]:
    """Of the best runbook; `of`: of the one that this incident names."""
    said = named_runbook(of)
    named = (g for g in material.guides if not of or (said and said.startswith(g[1].entity.removeprefix("runbook/"))))
    number, guide = next(named, (0, None))
    if guide is None:
        return []
    steps = [f"{place}. {step} [{number}]" for place, step in enumerate(read_steps(guide.text)[:STEPS], 1)]
    title = plain(guide.title.replace(HEADING_SEPARATOR, ", ")[:120])
    return [Section(f"**What to do next** (runbook {title}):", steps, least=2)] if steps else []


def _list(head: str, told: Sequence[str]) -> list[Section]:
    return [Section(head, [f"- {each}" for each in told])] if told else []


def _fitted(sections: list[Section]) -> str:
    """At most a screen: the longest list gives way first."""
    while True:
        text = "\n\n".join("\n".join([section.head, *section.items]) for section in sections)
        spare = [section for section in sections if len(section.items) > section.least]
        if not spare or (len(text) <= MOST_CHARS and text.count("\n") < MOST_LINES):
            return text
        max(spare, key=lambda section: len("".join(section.items))).items.pop()


def called_wrong(plan: Plan, facts: Sequence[Evidence]) -> list[Evidence]:
    """What an answer names as wrong; where that is nothing, it says that nothing stands out.

    Of a question about something, nothing unless some of it is that thing's own: trouble of others alone is not its.
    """
    wrong = [fact for fact in facts if fact.score >= WORTH_NAMING and _near(plan, fact) and _stands_out(plan, fact)]
    return wrong if any(_own(plan, fact) for fact in wrong) else []


def _stands_out(plan: Plan, piece: Evidence) -> bool:
    """Whether it is a complaint, and no ordinary one: noise is said at its usual rate, or evenly all the time."""
    severity, novelty = piece.parts.get("severity", WORST), piece.parts.get("novelty", WORST)
    match piece.kind:
        case "metric":
            return novelty >= NEWS
        case "alert":
            return piece.severity not in ("info", "debug", "trace")
        case "event":  # some that name a cause are no warnings
            return severity >= WORST or (piece.severity == "warn" and piece.count >= REPEATED)
        case _:
            agreed = severity >= WORST or severity * novelty >= AGREED or _described(plan, piece)
            return agreed and piece.severity in ("warn", "error", "fatal")


def _described(plan: Plan, piece: Evidence) -> bool:
    """Whether the question itself tells of it: pasted, or in other words. Whether all is well tells of nothing."""
    told = plan.intent != "health" and piece.severity == "error" and piece.parts.get("relevance", 0) >= DESCRIBED
    return told or "asked" in piece.parts


def _own(plan: Plan, piece: Evidence) -> bool:
    """Whether it is of the very thing that was asked about, names it, or is named in the question."""
    if "named" in piece.parts or "asked" in piece.parts:
        return True
    if plan.workloads or plan.pods or plan.nodes:
        return piece.parts.get("entity", OWN) >= OWN or bool(mentioned(piece.text, plan.workloads))
    return not plan.namespaces or piece.namespace in plan.namespaces


def _near(plan: Plan, piece: Evidence) -> bool:
    """Whether it is, or is of what that leans on."""
    anything = not (plan.workloads or plan.pods or plan.nodes)
    return anything or _own(plan, piece) or not piece.parts.keys().isdisjoint(("upstream", "related"))


def _began(piece: Evidence) -> float:
    return piece.first.timestamp() if piece.first else 0.0
