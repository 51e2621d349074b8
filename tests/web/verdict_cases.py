"""Questions with honest and with falsified answers, and Python's verdict on each: JavaScript is to
say the same, by the same name."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from support import odd_answers as honest
from support import region_answers as regional
from support.batches import KEYS, START, HonestApi, days_of_readings, hexed

from corechain.answers import parse_proven_reading, parse_reward_claim, parse_statistics
from corechain.documents import WrongAnswer
from corechain.listing import API
from corechain.protocol.errors import CoreChainError, UnknownBatch
from corechain.protocol.reading import Reading
from corechain.protocol.rewards import verify_claim
from corechain.protocol.statistics import Statistics
from corechain.readings import LocatedReading, ReadingsQuestion, parse_page
from corechain.regions import RegionQuestion
from corechain.steps import Request

Document = dict[str, Any]
Verdict = list[Any]
"""["ok", what is proven] or ["error", name]."""
DAYS = days_of_readings(3)
ROOT = honest.TREE.root


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as JavaScript has it, with what an honest API answers and how Python judges it."""

    question: Document
    answer: Document
    words: Mapping[int, bytes]
    judge: Callable[[Any], Any]


def verdict_of(judge: Callable[[], Any]) -> Verdict:
    try:
        return ["ok", judge()]
    except CoreChainError as error:
        return ["error", error.name]


def _commitment_of(words: Mapping[int, bytes]) -> Callable[[int], bytes]:
    def ask(batch: int) -> bytes:
        if batch not in words:
            raise UnknownBatch(batch)
        return words[batch]

    return ask


def shown(found: Statistics) -> list[Any]:
    return [found.count, str(found.sum), found.min, found.max]


def reading_shown(reading: Reading) -> list[Any]:
    fields = reading.metric, str(reading.cell), hexed(reading.device), reading.observed_at
    return [*fields, reading.value, reading.flag]


def _of_region(rnd: random.Random) -> Asked:
    cells = [regional.REGION, regional.OTHER, *(f"{cell:x}" for cell in regional.CELLS)]
    hour_s = regional.HOUR_S
    # On the hour, as readings are: batches begin and end at the edges of some windows.
    hours = regional.BATCHES * regional.HOURS
    window = sorted(regional.START + hour_s * rnd.randint(-1, hours) for _ in range(2))
    chosen = rnd.sample(cells, rnd.randint(1, 3))
    question = RegionQuestion.of("air_temperature", chosen, *window)
    # Often an honest answer for another window: what touches is left out, what is outside counts.
    moved = [0, 0, 1, -hour_s]
    other = window[0] + rnd.choice(moved), window[1] - rnd.choice(moved)
    told = replace(question, start=other[0], end=max(other))

    def judge(answer: Any) -> Any:
        parsed, words = parse_statistics(answer), _commitment_of(regional.COMMITMENTS)
        known = {batch: words(batch) for batch in parsed.batches}
        proven = parsed.verify_region(known.__getitem__, question.bounds(), (window[0], window[1]))
        return shown(proven)

    asked = {"kind": "region", "metric": 1, "cells": chosen, "from": window[0], "to": window[1]}
    return Asked(asked, regional.answered(told), regional.COMMITMENTS, judge)


def _of_device(rnd: random.Random) -> Asked:
    question = honest.QUESTION
    batch = honest.BATCH
    words = {batch.header.batch_id: batch.commitment}

    def judge(answer: Any) -> Any:
        parsed, ask = parse_statistics(answer), _commitment_of(words)
        known = {batch: ask(batch) for batch in parsed.batches}
        window = question.start, question.end
        return shown(parsed.verify(known.__getitem__, [question.bounds()], window))

    asked = {
        "kind": "statistics",
        "metric": question.metric.name,
        "device": hexed(question.device),
        "cell": f"{question.cell:015x}",
        "from": question.start,
        "to": question.end,
    }
    return Asked(asked, honest.statistics_json(), words, judge)


def _of_page(rnd: random.Random) -> Asked:
    key, days = rnd.choice(KEYS), 3
    metric = rnd.choice([None, "air_temperature", "pressure"])
    start = START + rnd.randint(0, 86_400)
    end = start + rnd.randint(3_600, days * 86_400)
    limit = rnd.randint(1, 40)
    question = ReadingsQuestion.of(key.identity.device, metric, start, end)
    params = question.params() | {"limit": limit, "proofs": 1}
    before = parse_page(HonestApi(DAYS)(Request(API, "GET", "/v1/readings", params))).items
    after = rnd.choice([None, before[-1]]) if before else None
    if after is not None and rnd.randrange(4):  # else the same page comes again
        params["cursor"] = str(len(before))
    more = {"limit": limit + rnd.choice([0] * 5 + [1])}  # than were asked for
    request = Request(API, "GET", "/v1/readings", params | more)
    words = {batch.header.batch_id: batch.commitment for batch in DAYS}

    def judge(answer: Any) -> Any:
        page = parse_page(answer)
        page.check(question, limit, after)
        ask = _commitment_of(words)
        page.verify({}, lambda wanted: {batch: ask(batch) for batch in wanted})
        return [[item.batch_id, item.position, *reading_shown(item.reading)] for item in page.items]

    asked = {"kind": "readings", "device": hexed(key.identity.device), "from": start, "to": end}
    asked |= {"limit": limit} | ({"metric": metric} if metric else {})
    asked |= {"after": after_json(after)} if after else {}
    return Asked(asked, HonestApi(DAYS)(request), words, judge)


def after_json(item: LocatedReading) -> Document:
    reading = item.reading
    fields = {"metric": reading.metric, "observedAt": reading.observed_at}
    return {"batchId": item.batch_id, "position": item.position, "reading": fields}


def _of_reading(rnd: random.Random) -> Asked:
    batch = rnd.choice(DAYS)
    number, position = batch.header.batch_id, rnd.randrange(len(batch.leaves))
    words = {number: batch.commitment}
    answer = {
        "leaf": hexed(batch.leaves[position]),
        "position": position,
        "proof": [hexed(node) for node in batch.readings.proof(position)],
        "rest_hash": hexed(batch.header.rest_hash),
        "block": number,
    }

    def judge(answer: Any) -> Any:
        proven = parse_proven_reading(answer, number)
        if proven.position != position:  # as `flows.proven_reading` has it
            raise WrongAnswer("another position")
        proven.verify(_commitment_of(words))
        return [number, position, *reading_shown(proven.reading)]

    asked = {"kind": "reading", "batchId": number, "position": position}
    return Asked(asked, answer, words, judge)


def _of_reward(rnd: random.Random) -> Asked:
    def judge(answer: Any) -> Any:
        claim = parse_reward_claim(answer)
        if claim.owner != honest.OWNER:  # as `flows.reward_claim` has it
            raise WrongAnswer("another owner")
        verify_claim(ROOT, claim)
        return [hexed(claim.owner), str(claim.cumulative)]

    asked = {"kind": "reward", "owner": hexed(honest.OWNER)}
    return Asked(asked, honest.claim_json(), {}, judge)


KINDS = (_of_region, _of_device, _of_page, _of_reading, _of_reward)


def answer_cases(count: int, seed: int) -> Iterator[tuple[Document, Verdict]]:
    """Every eighth answer is honest, each other one falsified at one place or two."""
    rnd = random.Random(seed)
    for index in range(count):
        asked = KINDS[index % len(KINDS)](rnd)
        answer: Any = copy.deepcopy(asked.answer)
        for _ in range(0 if index % 8 == 0 else rnd.choice((1, 1, 1, 2))):
            answer = falsified(answer, rnd)
        words = {str(batch): hexed(word) for batch, word in asked.words.items()}
        case = {"question": asked.question, "answer": answer, "words": words, "root": hexed(ROOT)}
        yield {"kind": "answer"} | case, verdict_of(lambda: asked.judge(answer))  # noqa: B023


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a document."""
    for key in value.keys() if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            _places(value[key], found)
    return found


def falsified(document: Any, rnd: random.Random) -> Any:
    """With something else at one place."""
    places = _places(document, [])
    if not places:
        return document
    container, key = rnd.choice(places)
    if rnd.random() < 0.03 and isinstance(container, dict):
        del container[key]
    elif rnd.random() < 0.05:
        other, place = rnd.choice(places)
        container[key] = copy.deepcopy(other[place])
    else:
        container[key] = _other(container[key], rnd)
    return document


def _other(value: Any, rnd: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return rnd.choice([True, 5, "", 2**80])
    if isinstance(value, int):
        near = [value + 1, value - 1, -value, value ^ 1 << rnd.randrange(40)]
        odd = rnd.choice([2**64 + value, value + 0.5, str(value), None, [], True])
        return rnd.choice([*near, *near, odd])
    if isinstance(value, str):
        return _other_text(value, rnd)
    if isinstance(value, list):
        return _other_list(value, rnd)
    return rnd.choice([None, [], {}, [value]])


def _other_text(text: str, rnd: random.Random) -> Any:
    at = rnd.randrange(len(text)) if text else 0
    digit = f"{text[:at]}{rnd.choice('0123456789abcdef')}{text[at + 1 :]}"
    zeros = text[:2] + "0" * (len(text) - 2)
    cut = rnd.choice([text[:-2], text + "00", text[:2] + text[4:], text[:-52], text[:-80]])
    odd = rnd.choice([text.upper(), text[2:], f" {text}", f"{text}\n", None, 7, [text]])
    return rnd.choice([digit] * 9 + [zeros, cut, odd])


def _other_list(items: list[Any], rnd: random.Random) -> Any:
    at = rnd.randrange(len(items)) if items else 0
    fewer, more = items[:at] + items[at + 1 :], items[:at] + items[at : at + 1] + items[at:]
    swapped = [*items]
    rnd.shuffle(swapped)
    return rnd.choice([fewer, fewer, more, more, swapped, items[::-1], [], rnd.choice([None, {}])])
