"""@corechain/verify says what Python says, by the same name.

given honest and falsified answers, proofs, signatures and cells
  JavaScript proves the same, and refuses the same for the same reason
"""

import json
from collections import Counter

from support.verify_package import built, run

from corechain.protocol.vocabulary import METRICS
from web.pure_cases import Case, pure_cases
from web.verdict_cases import answer_cases

ANSWERS, PROOFS, SIGNATURES, SEED = 2_000, 1_800, 180, 14


def judged(cases: list[Case]) -> list[Case]:
    """Each case with JavaScript's verdict."""
    lines = "\n".join(json.dumps(made) for made, _ in cases)
    found = run(["node", "test/judge.js"], built(), input=lines).splitlines()
    verdicts = map(json.loads, found)
    return [(made, verdict) for (made, _), verdict in zip(cases, verdicts, strict=True)]


def names_of(cases: list[Case]) -> Counter[str]:
    return Counter(verdict[1] if verdict[0] == "error" else "ok" for _, verdict in cases)


def test_a_browser_judges_answers_as_python_does() -> None:
    cases = [*answer_cases(ANSWERS, SEED)]
    assert judged(cases) == cases
    names = names_of(cases)
    wanted = "ok", "MalformedAnswer", "WrongAnswer", "InvalidProof", "RangeIncomplete"
    assert min(names[name] for name in (*wanted, "UnknownBatch")) >= 2, names


def test_a_browser_judges_proofs_signatures_and_cells_as_python_does() -> None:
    cases = [*pure_cases(PROOFS, SIGNATURES, SEED)]
    assert judged(cases) == cases
    names = names_of(cases)
    wanted = "ok", "InvalidProof", "RangeIncomplete", "InvalidSignature", "HighS", "InvalidCell"
    others = "MalformedReport", "InvalidValue", "VoucherRegressed", "PaymentRequired"
    assert min(names[name] for name in (*wanted, *others)) >= 2, names


def test_golden_vectors_hold_in_javascript() -> None:
    run(["npm", "test", "--silent"], built())


def test_a_browser_knows_the_vocabulary_that_python_knows() -> None:
    script = 'console.log(JSON.stringify((await import("./dist/index.js")).METRICS))'
    found = json.loads(run(["node", "--input-type=module", "--eval", script], built()))
    fields = "code", "name", "unit", "scale"
    assert found == [{name: getattr(metric, name) for name in fields} for metric in METRICS]
