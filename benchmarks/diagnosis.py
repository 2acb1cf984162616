"""What the diagnosis says of networks whose truth is known by construction: the confusion matrix.

python -m benchmarks.diagnosis
"""

from collections import Counter

from benchmarks.labelled import CASES, Case, train
from workers.contract.results import Diagnosis, Verdict


def main() -> None:
    found = [(case, train(case)) for case in CASES]
    counts = Counter((case.truth, told(case, diagnosis)) for case, diagnosis in found)
    words = list(dict.fromkeys(case.truth for case in CASES))
    words += sorted({said for _, said in counts} - set(words))
    activations = {str(case.activation) for case in CASES}
    depths = sorted({case.depth for case in CASES})
    print(
        f"{len(CASES)} cases, {len(activations)} non-linearities, depths {depths[0]} to {depths[-1]}: truth by row, verdict by column"
    )
    print(f"{'':18}" + "".join(f"{word.split('_')[0][:9]:>10}" for word in words))
    for truth in words:
        print(f"{truth:18}" + "".join(f"{counts[truth, said] or '·':>10}" for said in words))
    wrong = [(case, diagnosis) for case, diagnosis in found if complaints(case, diagnosis)]
    for case, diagnosis in wrong:
        print(f"{case}: {'; '.join(complaints(case, diagnosis))}: {diagnosis.evidence}")
    print(f"{len(wrong)} of {len(CASES)} wrong")


def told(case: Case, diagnosis: Diagnosis) -> Verdict:
    """The verdict on the moment that the case is about."""
    assert diagnosis.at_step_0 is not None
    return diagnosis.verdict if case.diverging else diagnosis.at_step_0.verdict


def complaints(case: Case, diagnosis: Diagnosis) -> list[str]:
    """What is wrong with a diagnosis: its verdict, where it says it begins, or what it finds where nothing was planted."""
    wrong = []
    start = diagnosis.at_step_0
    assert start is not None
    if (said := told(case, diagnosis)) != case.truth:
        wrong.append(f"{said} for {case.truth}")
    if case.diverging and start.verdict != "healthy":
        wrong.append(f"{start.verdict} at step 0 for healthy")
    if case.where is not None:
        first = [finding.first_layer for finding in start.findings if finding.verdict == case.truth]
        if first != [case.where]:
            wrong.append(f"{case.truth} first in {first} for {case.where}")
    if case.truth == "healthy" and start.findings:
        wrong.append(f"found {[finding.verdict for finding in start.findings]} in a healthy network")
    return wrong


if __name__ == "__main__":
    main()
