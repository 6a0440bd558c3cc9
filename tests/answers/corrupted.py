"""Right answers with exactly one thing changed: how many of the changed sentences the verifier notices.

Every answer is written by rule from evidence (`tests.answers.grounds`) in forms (`tests.answers.forms`) of which one
half was not looked at while the verifier's rules were tuned. A right answer is put through it first: what it marks
there is a false alarm. Then one number, name, time, quote or citation is changed, and the sentence counts as caught
when one more is found unsupported. With the verifier off none may be.

Two kinds of change are counted apart and do not count for the goal, because the text cannot show them: a number
replaced by another one of the same piece (the words around it would have to be understood), and a citation moved to a
piece about which the very same sentence could have been written.
"""

import re
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, get_args
from zoneinfo import ZoneInfo

from rich.table import Table

from cag.verification.verify import Action, Verifier
from schemas.context import Verification
from tests.answers.forms import FILLERS, HALVES, PHRASINGS, Half, Part, Said, Slot, Wrong, forms_for, say
from tests.answers.grounds import Ground, grounds
from tests.answers.trial import Outcome, Trial

ANSWERS: Final = 4  # a ground and half
SENTENCES: Final = 6
CAUGHT: Final = 0.95
TOUCHED: Final = 0.02
LEAST: Final = 300
PER_SENTENCE_US: Final = 100.0
STYLES: Final = ("prose", "bullets", "numbered", "sections")
APART: Final = ("number of the same piece", "citation of a piece that says the same")
_DIGITS: Final = re.compile(r"\d+")
_CLOCK: Final = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?")
_MADE_UP: Final = ("billing", "loyalty", "warehouse", "scheduler")  # names that nothing has
_ENDED: Final = re.compile(r"[.?!:]\s?(?:\[\d+\])?$")
_OTHER_WORDS: Final = ("succeeded", "never", "ignored", "healthy", "completed", "disk", "cache", "quickly", "accepted")


@dataclass(frozen=True, slots=True)
class Answer:
    ground: Ground
    sentences: tuple[Said | str, ...]  # a string: an aside
    style: str
    typeset: bool  # with the hyphens and spaces that gpt-oss likes

    @property
    def text(self) -> str:
        return _laid_out([each if isinstance(each, str) else each.text for each in self.sentences], self)


def run(trial: Trial) -> Outcome:
    trial.note("making evidence from the shop and from recordings")
    return measure(list(grounds(shop_seeds=(1, 2, 3) if trial.full else (1,))), answers=ANSWERS * (1 + 2 * trial.full))


def measure(made: Sequence[Ground], *, answers: int) -> Outcome:
    tried: Counter[tuple[Half, str]] = Counter()
    caught: Counter[tuple[Half, str]] = Counter()
    right: Counter[Half] = Counter()
    touched: Counter[Half] = Counter()
    control, sentences, spent_s = 0, 0, 0.0
    for half in HALVES:
        for answer, rng in _answers(made, half, answers):
            before = verified(answer)
            spent_s += min(_seconds(answer) for _ in range(3))
            sentences += len(answer.sentences)
            right[half] += len(answer.sentences)
            touched[half] += before.unsupported
            for kind, changed in corruptions(answer, rng):
                tried[half, kind] += 1
                caught[half, kind] += verified(changed).unsupported > before.unsupported
                control += verified(changed, "off").unsupported
    return _outcome(tried, caught, right, touched, control, spent_s / max(sentences, 1) * 1e6)


def verified(answer: Answer, action: Action = "mark") -> Verification:
    verifier = Verifier(answer.ground.evidence, plan=answer.ground.plan, action=action, names=answer.ground.exist)
    text = answer.text
    for at in range(0, len(text), 7):  # about a token and a half
        verifier.feed(text[at : at + 7])
    verifier.finish()
    return verifier.report


def _seconds(answer: Answer) -> float:
    """Of processor time, evidence taken apart anew."""
    began = time.process_time()
    verified(answer)
    return time.process_time() - began


def _answers(made: Sequence[Ground], half: Half, answers: int) -> Iterator[tuple[Answer, Random]]:
    for ground in made:
        for number in range(answers):
            rng = Random(f"{ground.name}:{half}:{number}")
            yield write(ground, half, rng), rng


def write(ground: Ground, half: Half, rng: Random) -> Answer:
    """A right answer of several sentences about one ground."""
    zone = ZoneInfo(ground.plan.zone)
    choices = [(n, piece, *form) for n, piece in enumerate(ground.evidence, 1) for form in forms_for(piece, half)]
    rng.shuffle(choices)
    said: list[Said | str] = []
    for number, piece, form, names in choices:
        sentence = say(form, names, piece, number, rng, zone)
        if sentence is not None and all(not isinstance(each, Said) or each.form != form for each in said):
            said.append(_moved_citation(sentence, rng))
        if len(said) == SENTENCES:
            break
    for aside in rng.sample(PHRASINGS[half].ASIDES, 2):
        said.insert(rng.randint(0, len(said)), aside)
    return Answer(ground, tuple(said), rng.choice(STYLES), rng.random() < 0.25)


def _moved_citation(sentence: Said, rng: Random) -> Said:
    """Some models put it behind the full stop."""
    *parts, cite, stop = sentence.parts
    if stop != "." or not isinstance(cite, Slot) or cite.kind != "citation" or rng.random() > 0.15:
        return sentence
    last = str(parts[-1]).rstrip() if isinstance(parts[-1], str) else parts[-1]
    return replace(sentence, parts=(*parts[:-1], last, rng.choice((". ", ".")), cite))


def _laid_out(texts: list[str], answer: Answer) -> str:
    if answer.typeset:
        texts = [re.sub(r"(?<=\d) (?=ms|s\b|MiB|GiB|minutes)", "\u202f", _hyphens(text)) for text in texts]
    if answer.style == "bullets":
        return _listed(texts, lambda n: "- ") + "\n"
    if answer.style == "numbered":
        return _listed(texts, lambda n: f"{n}. ")
    if answer.style == "sections":
        half = len(texts) // 2
        lead = "**Most likely cause**\n\n" + _paragraph(texts[:half])
        return f"{lead}\n\n**What supports it**\n\n{_listed(texts[half:], lambda n: '* ')}"
    return _paragraph(texts)


def _listed(texts: list[str], marker: Callable[[int], str]) -> str:
    return "\n".join(text if text.startswith(("#", "|")) else f"{marker(n)}{text}" for n, text in enumerate(texts, 1))


def _paragraph(texts: list[str]) -> str:
    """Headings and rows stand on lines of their own."""
    own = [text.startswith(("#", "**", "|")) and not text.endswith(".") for text in texts]
    texts = [text if alone or _ENDED.search(text) else f"{text}." for text, alone in zip(texts, own, strict=True)]
    return "".join(f"\n\n{text}\n\n" if alone else f"{text} " for text, alone in zip(texts, own, strict=True)).strip()


def _hyphens(text: str) -> str:
    return "`".join(part if place % 2 else part.replace("-", "\u2011") for place, part in enumerate(text.split("`")))


def corruptions(answer: Answer, rng: Random) -> Iterator[tuple[str, Answer]]:
    """The answer with one thing changed, once for each kind that it has."""
    for kind in get_args(Wrong):
        places = [
            (n, m)
            for n, said in enumerate(answer.sentences)
            if isinstance(said, Said)
            for m, part in enumerate(said.parts)
            if isinstance(part, Slot) and part.kind == kind
        ]
        if not places:
            continue
        n, m = rng.choice(places)
        said = answer.sentences[n]
        assert isinstance(said, Said)
        slot = said.parts[m]
        assert isinstance(slot, Slot)
        for named, text in _changed(slot, said, answer, rng):
            parts: tuple[Part, ...] = (*said.parts[:m], replace(slot, text=text), *said.parts[m + 1 :])
            sentences = (*answer.sentences[:n], replace(said, parts=parts), *answer.sentences[n + 1 :])
            yield named, replace(answer, sentences=sentences)


def _changed(slot: Slot, said: Said, answer: Answer, rng: Random) -> Iterator[tuple[str, str]]:
    """The kind under which the change is counted, and the wrong text."""
    piece = answer.ground.evidence[said.number - 1]
    match slot.kind:
        case "number":
            yield "number", wrong_number(slot.text, rng)
            held = [found for found in re.findall(r"(?<![\w.])\d+(?![\w.])", piece.text) if found not in slot.text]
            if held:
                yield APART[0], _DIGITS.sub(rng.choice(held), slot.text.replace(",", ""), count=1)
        case "name":
            yield "name", wrong_name(slot.text, answer.ground, said, rng)
        case "time":
            yield "time", wrong_time(slot.text, rng)
        case "quote":
            yield "quote", wrong_quote(slot.text, rng)
        case "citation":
            others = [n for n in range(1, len(answer.ground.evidence) + 1) if n != said.number]
            other = rng.choice([*others, 0, len(others) + 4])
            same = other in others and _says_the_same(said, other, answer.ground)
            yield APART[1] if same else "citation", f"[{other}]" if other else ""


def wrong_number(text: str, rng: Random) -> str:
    """Another number of the same make, far enough that no rounding explains it."""
    found = re.search(r"\d[\d,]*(?:\.\d+)?", text)
    assert found
    value = float(found.group().replace(",", ""))
    about = text.startswith(("about", "roughly", "more"))
    ways = [value * 10, value * 2, value * 1.4 + 2, value * 0.6 + (value <= 2) * 3]
    if text.startswith("more"):  # than less is true as well
        ways = [value * 10, value * 4]
    if not about and value >= 10:
        ways += [value + rng.randint(1, 9) * (1 if value < 100 else 10), value + rng.randint(3, 9)]
    new = rng.choice(ways)
    comma = "," if "," in found.group() else ""
    decimals = len(found.group().partition(".")[2])
    return f"{text[: found.start()]}{new:{comma}.{decimals}f}{text[found.end() :]}"


def wrong_time(text: str, rng: Random) -> str:
    shift = rng.choice([-47, -23, -11, 9, 17, 38, 73, -180, 240]) * 60 + rng.choice([0, 17])

    def moved(found: re.Match[str]) -> str:
        seconds = (int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0) + shift) % 86_400
        new = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
        return f"{new}:{seconds % 60:02d}" if found[3] else new

    if rng.random() < 0.5:
        return _CLOCK.sub(moved, text, count=1)
    clocks = list(_CLOCK.finditer(text))
    last = clocks[-1]
    return text[: last.start()] + moved(last) + text[last.end() :]


def wrong_name(text: str, ground: Ground, said: Said, rng: Random) -> str:
    """Another thing's name that exists, or one of the same make that does not."""
    bare = text.strip("`")
    piece = ground.evidence[said.number - 1]
    spoken = piece.text.lower() + piece.entity + piece.namespace
    ways = [name for name in ground.others if name not in spoken]
    ways += [e.workload for e in ground.evidence if e.workload and e.workload not in spoken and e.workload != bare]
    if bare[0].isupper():
        ways = [
            name
            for e in ground.evidence
            if e.kind in ("alert", "event") and (name := e.title.split()[0]) not in piece.text
        ]
        ways.append(rng.choice(("KubeNodeNotReady", "Evicted", "TargetDown", "FailedAttachVolume")))
    elif "_" in bare or "." in bare:
        ways = [e.title for e in ground.evidence if e.kind == "metric" and e.title != bare] + ["process_open_fds"]
    elif any(c.isdigit() for c in bare):
        place = rng.randrange(len(bare) - 4, len(bare))
        ways = [bare[:place] + ("x" if bare[place] != "x" else "7") + bare[place + 1 :], *ways]
    else:
        ways += [f"{bare}-v2", rng.choice(_MADE_UP)]
    return text.replace(bare, rng.choice(ways))


def wrong_quote(text: str, rng: Random) -> str:
    words = text[1:-1].split()
    place = rng.randrange(len(words))
    if words[place] == "...":
        place -= 1
    way = rng.random()
    if way < 0.6:
        words[place] = rng.choice([word for word in _OTHER_WORDS if word not in text])
    elif way < 0.8:
        words.insert(max(place, 1), "not")
    else:
        words[place] = words[place][::-1] if words[place] != words[place][::-1] else "never"
    return f"{text[0]}{' '.join(words)}{text[-1]}"


def _says_the_same(said: Said, other: int, ground: Ground) -> bool:
    """Whether everything in the slots of a sentence could have been said of the other piece."""
    piece = ground.evidence[other - 1]
    spoken = f"{piece.text} {piece.entity} {piece.namespace} {piece.workload} {piece.title}"
    fields = [field for _, field, _, _ in string.Formatter().parse(said.form) if field]
    slots = [part for part in said.parts if isinstance(part, Slot)]
    for field, slot in zip(fields, slots, strict=True):
        filler = FILLERS.get(field)
        again = filler(piece, Random(0), ZoneInfo(ground.plan.zone)) if filler else None
        if (
            slot.kind != "citation"
            and slot.text.strip('`"“”') not in spoken
            and (again is None or again.text != slot.text)
        ):
            return False
    hard = any(slot.kind in ("number", "time", "quote") for slot in slots)
    return hard or any(form == said.form for half in HALVES for form, _ in forms_for(piece, half))


def _outcome(
    tried: Counter[tuple[Half, str]],
    caught: Counter[tuple[Half, str]],
    right: Counter[Half],
    touched: Counter[Half],
    control: int,
    each_us: float,
) -> Outcome:
    table = Table("", *(f"{half}: caught / changed" for half in HALVES), title="Right answers with one thing changed")
    kinds = [*get_args(Wrong), *APART]
    for kind in kinds:
        row = [f"{caught[half, kind]} / {tried[half, kind]}" for half in HALVES]
        table.add_row(kind if kind in get_args(Wrong) else f"({kind}: not counted)", *row)
    share, false_share = {}, {}
    for half in HALVES:
        made = sum(tried[half, kind] for kind in get_args(Wrong))
        share[half] = sum(caught[half, kind] for kind in get_args(Wrong)) / max(made, 1)
        false_share[half] = touched[half] / max(right[half], 1)
    table.add_row("all", *(f"{share[half]:.1%}" for half in HALVES))
    table.add_row(
        "right sentences touched", *(f"{touched[half]} / {right[half]} ({false_share[half]:.2%})" for half in HALVES)
    )
    table.add_row("caught with the verifier off", str(control), "")
    table.add_row("microseconds a sentence", f"{each_us:.0f}", "")
    changed = sum(tried[half, kind] for half in HALVES for kind in get_args(Wrong))
    good = all(share[half] >= CAUGHT and false_share[half] <= TOUCHED for half in HALVES)
    figures = {
        "changed": changed,
        "right_sentences": sum(right.values()),
        "caught": {half: round(share[half], 4) for half in HALVES},
        "touched": {half: round(false_share[half], 4) for half in HALVES},
        "not_visible": {
            kind: f"{sum(caught[h, kind] for h in HALVES)}/{sum(tried[h, kind] for h in HALVES)}" for kind in APART
        },
        "caught_when_off": control,
        "us_per_sentence": round(each_us, 1),
    }
    ok = good and not control and changed >= LEAST and each_us < PER_SENTENCE_US
    return Outcome(ok=ok, table=table, figures=figures)
