"""What the shop says on a good day: (weight, level, sentence) for each service, some of it worrying and harmless."""

from typing import Final

Phrase = tuple[int, str, str]

_ACCESS: Final = '<ip> - - "GET <path> HTTP/1.1" 200 <bytes> "-" "<agent>" rt=0.0<n> uct=0.001 request=<hex>'
_PYTHON_TRACE: Final = (
    "could not score one candidate, using the default\n"
    "Traceback (most recent call last):\n"
    '  File "/app/ranking/score.py", line <n>, in score\n'
    "    return weights[candidate.category]\n"
    "KeyError: 'gift-cards'"
)
_JAVA_TRACE: Final = (
    "request <hex> was aborted by the client\n"
    "org.apache.catalina.connector.ClientAbortException: java.io.IOException: Broken pipe\n"
    "\tat org.apache.catalina.connector.OutputBuffer.realWriteBytes(OutputBuffer.java:<n>)\n"
    "\tat example.shop.web.StreamingWriter.flush(StreamingWriter.java:<n>)\n"
    "Caused by: java.io.IOException: Broken pipe"
)

PHRASES: Final[dict[str, tuple[Phrase, ...]]] = {
    "gateway": (
        (60, "info", _ACCESS),
        (14, "info", _ACCESS.replace("GET", "POST").replace(" 200 ", " 201 ")),
        (8, "info", _ACCESS.replace(" 200 ", " 304 ")),
        (4, "info", _ACCESS.replace(" 200 ", " 404 ")),
        (1, "info", _ACCESS.replace(" 200 ", " 499 ")),
        (1, "warn", "[warn] 31#31: *<id> a client request body is buffered to a temporary file, client: <ip>"),
    ),
    "frontend": (
        (30, "info", "rendered <path> for session <hex> in <ms> ms"),
        (16, "debug", "fragment cache hit for <sku>"),
        (8, "debug", "fragment cache miss for <sku>"),
        (6, "info", "signed in user <user> from <country>"),
        (2, "warn", "slow render of <path>: <slow> ms, template product-grid"),
        (1, "error", "unhandled rejection in browser bundle: ResizeObserver loop completed, user <user>"),
    ),
    "checkout": (
        (20, "info", "checkout started for cart <hex>, <n> items"),
        (18, "info", "order <order> placed by <user> for <amount> EUR in <ms> ms"),
        (10, "debug", "price check for <order> agrees within <ms> ms"),
        (4, "info", "voucher SPRING<n> applied to <order>"),
        (2, "warn", "voucher code rejected for cart <hex>: not valid in <country>"),
        (1, "warn", "call to shipping needed a second attempt for <order>"),
        (1, "error", _JAVA_TRACE),
    ),
    "payments": (
        (20, "info", "authorised <amount> EUR for <order> at cardgate in <ms> ms"),
        (10, "info", "captured <amount> EUR for <order>"),
        (6, "debug", "risk score <n> for <order>"),
        (3, "warn", "card declined by issuer for <order>: insufficient funds"),
        (2, "info", "refund of <amount> EUR booked for <order>"),
        (1, "error", "issuer answered with code <n> for <order>, customer asked to use another card"),
    ),
    "orders": (
        (20, "info", "order <order> stored, state NEW"),
        (14, "info", "order <order> moved from NEW to PAID in <ms> ms"),
        (10, "info", "order <order> handed to the warehouse, parcel <id>"),
        (6, "debug", "outbox relay sent <n> messages in <ms> ms"),
        (2, "warn", "order <order> was changed by someone else, retrying with version <n>"),
        (1, "info", "HikariPool-1 - Pool stats (total=20, active=<attempt>, idle=17, waiting=0)"),
    ),
    "cart": (
        (20, "info", "added <sku> to cart <hex>"),
        (8, "info", "removed <sku> from cart <hex>"),
        (12, "debug", "cart <hex> loaded, <n> lines, <ms> ms"),
        (1, "warn", "cart <hex> belonged to a guest and was merged into <user>"),
    ),
    "catalog": (
        (24, "info", "served product <sku> in <ms> ms"),
        (10, "debug", "loaded <n> variants of <sku> from the database"),
        (4, "info", "price list <id> imported, <n> rows changed"),
        (2, "warn", "product <sku> has no picture, placeholder used"),
        (1, "error", "feed line <id> skipped: weight is missing for <sku>"),
    ),
    "search": (
        (24, "info", "query '<query>' returned <n> hits in <ms> ms"),
        (6, "debug", "synonyms expanded to <n> terms"),
        (3, "info", "query '<query>' returned no hits"),
        (2, "warn", "query took <slow> ms in the slow lane, shard <n>"),
        (1, "info", "index refreshed, <big> documents"),
    ),
    "inventory": (
        (20, "info", "reserved <n> of <sku> for <order>"),
        (12, "info", "released reservation <id> after payment"),
        (6, "debug", "stock of <sku> is <n> after sync"),
        (3, "warn", "stock of <sku> is low: <n> left"),
        (1, "info", "nightly count differs by <n> for <sku>, corrected"),
    ),
    "shipping": (
        (16, "info", "quoted <amount> EUR to <country> for <order> in <ms> ms"),
        (10, "info", "label <id> printed for <order>"),
        (2, "warn", "address of <order> could not be verified, asking the customer"),
        (1, "error", "carrier refused label for <order>: postcode does not match <country>"),
    ),
    "pricing": (
        (20, "debug", "computed price of <sku> for <country> in <ms> ms"),
        (6, "info", "rule set <id> loaded with <n> rules"),
        (1, "warn", "two promotions compete for <sku>, taking the better one"),
    ),
    "accounts": (
        (14, "info", "session opened for <user> from <ip>"),
        (8, "info", "token refreshed for <user>"),
        (4, "warn", "wrong password for <user> from <ip>, attempt <attempt>"),
        (1, "info", "password changed by <user>"),
        (1, "error", "login form token mismatch for session <hex>, asked to reload"),
    ),
    "recommendations": (
        (20, "info", "ranked <n> candidates for <user> in <ms> ms"),
        (4, "debug", "model version <id> answered from cache"),
        (1, "error", _PYTHON_TRACE),
    ),
    "reviews": (
        (14, "info", "listed <n> reviews of <sku>"),
        (4, "info", "review <id> of <sku> published"),
        (2, "warn", "review <id> held back for moderation"),
    ),
    "notifications": (
        (14, "info", "mail order-confirmation sent for <order> in <ms> ms"),
        (5, "info", "push message delivered to <user>"),
        (2, "warn", "mailbox of <user> is full, trying again in <n> minutes"),
        (1, "error", "template parcel-delayed has no translation for <country>, sent in English"),
    ),
    "fraud-scorer": (
        (10, "info", "scored <order> as <n> in <ms> ms"),
        (1, "warn", "feature country_age missing, default"),
    ),
    "card-vault": ((10, "info", "card reference <hex> resolved"), (1, "info", "key slot <n> rotated")),
    "cart-redis": (
        (6, "info", "<n> changes in 300 seconds. Saving..."),
        (6, "info", "Background saving terminated with success"),
        (1, "warn", "Client id=<id> addr=<ip>:<port> closed the connection while a reply was pending"),
    ),
    "search-index": (
        (6, "info", "merged <n> segments of shard <n> in <ms> ms"),
        (1, "warn", "[gc][<id>] overhead, spent [<ms>ms]"),
    ),
    "coredns": (
        (
            20,
            "info",
            '<ip>:<port> - <id> "A IN cart.shop.svc.cluster.local. udp 48 false 512" NOERROR qr,aa,rd 94 0.0001s',
        ),
        (2, "info", '<ip>:<port> - <id> "AAAA IN cart.local. udp 38 false 512" NXDOMAIN qr,rd 113 0.0009s'),
    ),
    "kube-scheduler": ((4, "info", "Successfully bound pod to node, evaluated <n> nodes, feasible <n>"),),
    "cluster-autoscaler": ((4, "info", "No unschedulable pods, <n> nodes are needed, cool down for <ms> seconds"),),
    "cert-manager": ((4, "info", "Certificate is up to date, next check in <n> hours, revision <n>"),),
    "node-problem-detector": (
        (8, "info", "kubelet: Housekeeping finished, <n> containers, <ms> ms"),
        (2, "info", "kernel: eth0: link is up at 25000 Mbps, rx <big>"),
        (1, "warn", "kernel: TCP: request_sock_TCP: Possible SYN flooding on port <port>. Sending cookies."),
    ),
}
_POSTGRES: Final[tuple[Phrase, ...]] = (
    (8, "info", "checkpoint complete: wrote <n> buffers (0.<n>%); sync=0.0<n> s, total=<n>.<n> s"),
    (6, "info", "automatic vacuum of table public.events: index scans: <n>, pages: <n> removed"),
    (3, "info", "duration: <slow>.<n> ms  statement: SELECT count(*) FROM audit_trail WHERE day = $1"),
    (1, "error", "duplicate key value violates unique constraint orders_idempotency_key"),
    (1, "info", "could not receive data from client: Connection reset by peer"),
)


def phrases_of(service: str) -> tuple[Phrase, ...]:
    return _POSTGRES if service.endswith("-db") else PHRASES[service]


# How many of a hundred lines a service writes; those not named write one.
LOUDNESS: Final[dict[str, float]] = {
    "gateway": 18,
    "frontend": 14,
    "checkout": 8,
    "payments": 7,
    "orders": 7,
    "cart": 7,
    "catalog": 9,
    "search": 6,
    "inventory": 5,
    "accounts": 4,
    "shipping": 3,
    "pricing": 3,
    "recommendations": 3,
    "coredns": 2,
    "kube-scheduler": 0.3,
    "cluster-autoscaler": 0.3,
    "cert-manager": 0.2,
}
