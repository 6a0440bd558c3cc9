"""What else a model might say. Written last; the verifier's rules have not been tuned on these."""

from typing import Final

FORMS: Final[dict[str, tuple[str, ...]]] = {
    "log": (
        "Every one of the {times} that {workload} failed, it wrote {code} {cite}.",
        "The trouble in {workload} lasted from {first} until {last} UTC {cite}.",
        "{workload_code} is where it shows: {said} since {first_hm_local} {cite}.",
        "We find {message} {over} in the log of {entity} {cite}.",
        "About half past or not, the first {code} came {around} {cite}.",
        "Of all lines, {elided} ({lines}) is the loudest, from {workload} {cite}.",
        "Callers had to wait for {seconds_exact} {cite}.",
        "{curly}, says {workload}, and says it {about} {cite}.",
        "| {workload} | {period} | {x} | {cite} |",
        "By {last_local} the {workload} service in {namespace} was still logging {said} {cite}.",
    ),
    "event": (
        "{pod} is subject to {reason}: {said} {cite}.",
        "The reason {reason} appears {times}, and {last} UTC is the latest {cite}.",
        "Look into {entity}: {code}, first at {first_local} {cite}.",
    ),
    "metric": (
        "{metric} stood at {usual} and is at {now} in the end {cite}.",
        "We see {metric} arrive at {now_coarse} {cite}.",
    ),
    "alert": (
        "An alert, {alert}, is firing and says {said} {cite}.",
        "{alert_code} started at {first} UTC {cite}.",
    ),
    "runbook": (
        "The runbook starts with {said} {cite}.",
        "There is a runbook for this, and it says {curly} {cite}.",
    ),
}
# Evidence in other words: an expression that its text must match, groups of which are names, and the sentence.
IN_OTHER_WORDS: Final[tuple[tuple[str, str], ...]] = (
    (r"retrying (?P<callee>[\w-]+)", "{workload} does not get through to {callee}, so it retries {cite}."),
    (r"call to (?P<callee>[\w-]+) failed", "Failed calls to {callee} are what {workload} suffers from {cite}."),
    (r"no healthy upstream", "The upstream has no healthy member {cite}."),
    (r"probe failed", "A probe fails on this pod {cite}."),
    (r"Back-off restarting", "Kubernetes waits longer and longer before restarting the failed container {cite}."),
    (r"handshake", "The connection is closed during the handshake {cite}."),
    (r"deadline exceeded", "A deadline is exceeded on each call {cite}."),
    (r"FailedScheduling", "Scheduling the pod fails {cite}."),
    (r"secret .* not found", "The mount waits for a secret that does not exist {cite}."),
    (r"Failed password", "Passwords for root are being guessed {cite}."),
    (r"Cannot open channel", "The channel to its peer cannot be opened {cite}."),
    (r"connection refused", "Its peer refuses the connection {cite}."),
    (r"took too long", "Applying a request took too long {cite}."),
    (r"throttling", "Client-side throttling makes it wait {cite}."),
    (r"generating core", "The machines are generating core files {cite}."),
    (r"(?i)rollout undo", "Take back the last rollout {cite}."),
    (r"cordon", "Begin by cordoning the node {cite}."),
)
# What needs no citation and must be left alone.
ASIDES: Final[tuple[str, ...]] = (
    "My reading of the evidence is this:",
    "There were no alerts for the database.",
    "Talk to the owners of the service before you change its limits.",
    "When the pods are ready again, the alert should clear by itself.",
    "Did anybody change the configuration?",
    "**How to proceed**",
    "### Open questions",
    "I am unable to say more without the traces.",
    "Keep an eye on the error rate.",
    "The cause of the first restart is not known.",
    "For a lasting fix, set a limit for the cache.",
    "Whether customers noticed cannot be seen here.",
)
