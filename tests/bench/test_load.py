"""What benchmarks compute from what they see, with values: wrong figures look like right ones."""

from __future__ import annotations

import math

import pytest

from bench.load import Sample, Window, percentile
from bench.router.measure import parse

WRK = """\
Running 5s test @ http://127.0.0.1:9101/v1/chat/completions
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.05ms    1.05ms  20.00ms   77.77%
    Req/Sec    21.26k     1.20k   23.00k    70.00%
  Latency Distribution
     50%  812.00us
     75%    3.50ms
     90%    4.20ms
     99%    1.20s
  106300 requests in 5.01s, 55.00MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 4
Requests/sec:  21217.56
Transfer/sec:     10.98MB
"""


def sample(began: float, ended: float, status: int = 200) -> Sample:
    return Sample("a", began, ended, ended, status, 20, 32)


def test_tokens_are_credited_to_the_part_of_a_request_inside_the_window() -> None:
    window = Window(10.0, 20.0, [sample(8.0, 12.0), sample(12.0, 16.0), sample(18.0, 26.0)])

    assert window.tokens_per_second() == pytest.approx((16 + 32 + 8) / 10)


def test_requests_of_a_steady_client_add_up_to_its_rate() -> None:
    window = Window(3.3, 17.9, [sample(n * 2.0, n * 2.0 + 2.0) for n in range(12)])

    assert window.tokens_per_second() == pytest.approx(16.0)


def test_failures_give_no_tokens_and_are_counted() -> None:
    window = Window(0.0, 10.0, [sample(1.0, 2.0, 503), sample(2.0, 3.0, 0), sample(3.0, 4.0)])

    assert window.tokens_per_second() == pytest.approx(3.2)
    assert window.failed == 2
    assert len(window.samples) == 1


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_what_wrk_prints_is_read_in_milliseconds() -> None:
    seen = parse(WRK)

    assert (seen.p50_ms, seen.p99_ms) == (0.812, 1200.0)
    assert (seen.per_second, seen.requests, seen.failed) == (21217.56, 106300, 7)


def test_something_that_is_not_wrks_report_is_refused() -> None:
    with pytest.raises(TypeError):
        parse("unable to connect to 127.0.0.1:9101 Connection refused")
