from benchmarks.collector import CollectedSpan
from benchmarks.redis_calls import KEY, SEEN, Command, report


def span(name: str, began: float, ended: float, trace: str = "t") -> CollectedSpan:
    return CollectedSpan(name, "gateway", trace, name, "", began, ended, {}, [])


def test_a_line_of_monitor_is_read_as_the_command_and_the_kind_of_its_key():
    line = '+1796.25 [0 unix:/tmp/a] "EVALSHA" "5f" "2" "parley:{abc}:turn" "parley:{abc}:last" "\\x00\\""\r\n'
    seen = SEEN.match(line)
    assert (seen["at"], seen["client"], seen["name"]) == ("1796.25", "unix:/tmp/a", "EVALSHA")
    assert KEY.search(seen["arguments"])[1] == "turn"
    assert SEEN.match('+1796.25 [0 lua] "GET" "parley:{abc}:turn"')["client"] == "lua"


def test_commands_are_counted_by_when_they_come_in_a_turn():
    spans = [span("turn", 10, 14), span("answer", 12, 14), span("first_audio", 12, 12.5)]
    spans += [span("turn", 20, 21, "refused")]  # a turn without an answer is none
    commands = [Command(at, "GET turn") for at in (9.9, 11, 11.5, 12.25, 13, 20.5)]
    rows, turns = report(commands, spans)
    assert turns == 1
    assert [(row["when"], row["a turn"], row["offset p50"]) for row in rows] == [
        ("before the end", 2, -1000), ("on the way", 1, 250), ("after first audio", 1, 1000)
    ]  # fmt: skip
