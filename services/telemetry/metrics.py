"""All metrics of the services and the gateway. Times are in seconds. `metrics_page` publishes them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)
_COMPUTE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_DETECTION = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1)
_BATCH = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LITTLE_LEAD, LATE_FIRST_AUDIO = 0.1, 2.5  # seconds; beyond either an answer does not keep real time
_LEAD = (-1, -0.5, -0.25, 0, LITTLE_LEAD, 0.25, 0.5, 1, 2, 5)
_RATIO = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1, 1.5, 2, 4)

# Calls, counted by `@rpc`.
REQUESTS = Counter("parley_requests_total", "Calls ended, by gRPC status", ["service", "method", "code"])
REQUEST_SECONDS = Histogram("parley_request_seconds", "Duration of a call", ["service", "method"], buckets=_LATENCY)
IN_FLIGHT = Gauge("parley_requests_in_flight", "Calls open now", ["service", "method"])

# What runs.
SERVICE_INFO = Gauge(
    "parley_service_info",
    "1 for each replica, with what it runs; weights: the name that embeddings carry",
    ["service", "model", "weights", "checkpoint", "device", "dtype"],
)
EVENT_LOOP_LAG = Histogram(
    "parley_event_loop_lag_seconds",
    "How late the event loop of a process was with a task that was due",
    ["service"],
    buckets=_LATENCY,
)

# Engines.
SLOTS = Gauge("parley_engine_slots", "Requests that may hold a slot of the engine at once", ["service"])
QUEUE = Gauge("parley_queue_length", "Sequences or tiles waiting for the engine", ["service"])
SLOTS_USED = Gauge("parley_engine_slots_used", "Requests that hold a slot of the engine", ["service"])
BATCH_SIZE = Histogram("parley_batch_size", "Sequences or tiles in one engine step", ["service"], buckets=_BATCH)
STEP_SECONDS = Histogram("parley_step_seconds", "Duration of an engine step", ["service"], buckets=_COMPUTE)
REFUSED = Counter("parley_refused_total", "Work refused because a limit was reached", ["service", "limit"])
QUEUE_SECONDS = Histogram(
    "parley_queue_seconds", "From the arrival of work to the engine's step that takes it", ["service"], buckets=_LATENCY
)
CACHE_BYTES = Gauge("parley_cache_bytes", "Memory of KV caches and stream states", ["service"])

# Work done.
TOKENS = Counter("parley_tokens_total", "Tokens of the LLM core; kind: prompt, cached or answer", ["service", "kind"])
AUDIO_SECONDS = Counter("parley_audio_seconds_total", "Audio; direction: in or out", ["service", "direction"])
PICTURES = Counter("parley_pictures_total", "Tiles and frames encoded", ["service"])

DISCARDED_ANSWERS = Counter(
    "parley_answers_discarded_total", "Answers computed at a pause after which the user went on"
)

# Latency.
FIRST_TOKEN_SECONDS = Histogram("parley_first_token_seconds", "`respond` → first token", ["service"], buckets=_LATENCY)
FIRST_AUDIO_SECONDS = Histogram(
    "parley_first_audio_seconds",
    "To the first audio: from the last sound of the question (gateway), from the first whole clause (speech decoder)",
    ["service"],
    buckets=_LATENCY,
)
REAL_TIME_FACTOR = Histogram(
    "parley_real_time_factor",
    "Compute seconds for each second of audio",
    ["service"],
    buckets=_RATIO,
)

AUDIO_LEAD_SECONDS = Histogram(
    "parley_audio_lead_seconds",
    "Audio of an answer that a client has not played yet when the gateway gets more of it; below 0: it has run out",
    buckets=_LEAD,
)

LATE_ANSWERS = Counter(
    "parley_late_answers_total",
    f"Answers whose first audio took more than {LATE_FIRST_AUDIO:g} s, or of which a client had less than "
    f"{LITTLE_LEAD:g} s left to play when more came",
)

# The gateway.
VOICE_ACTIVITY_SECONDS = Histogram(
    "parley_voice_activity_seconds",
    "From the arrival of a microphone's audio to the probability of speech in it; of each call the longest",
    buckets=_DETECTION,
)
CONNECTIONS = Gauge("parley_connections", "Client streams open now")
MAX_CONNECTIONS = Gauge("parley_max_connections", "Client streams that the gateway takes at once")
GATEWAY_MISSING = Gauge(
    "parley_gateway_missing",
    "1 for each part that keeps this gateway from serving a turn: a service, redis, or stopping; else 0",
    ["part"],
)
OPEN_TURNS = Gauge(
    "parley_open_turns",
    "Turns open now; phase: question (it is being asked), waiting (for the first of the answer) or answering",
    ["phase"],
)
TURNS = Counter("parley_turns_total", "Turns ended: stop, length, nothing, cancelled or failed", ["reason"])
STATES = Counter("parley_states_total", "Turns by state: speech, text or nothing", ["state"])
RECONNECTS = Counter("parley_reconnects_total", "Calls repeated after a lost connection", ["service"])
STORE_ERRORS = Counter("parley_store_errors_total", "Failed calls to Redis", ["operation"])
