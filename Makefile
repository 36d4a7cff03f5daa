# Every target is what CI runs; `make check` never edits, `make fix` does.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.PHONY: help run setup setup-test test test-unit test-core test-hls test-rtmp coverage test-pure \
  test-plain test-bench test-e2e test-long \
  soak soak-ladder conformance bench bench-delivery bench-chat flame check fix fuzz sanitize clean

help:           ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

run: setup      ## set up and run an origin with a built-in demo broadcast; prints the addresses
	.venv/bin/headrace-origin --demo

setup:          ## virtual environment, extensions, hls.js
	@tools/setup.sh run

setup-test:     ## the same, plus test tools, ffmpeg, Chromium and OBS
	@tools/setup.sh test

test: setup-test test-unit test-e2e ## set up and run all tests but the long ones

# First what knows no clock, on two cores: nothing there can be late. Then, alone, what does.
CORE := tests/native tests/rtmpcore tests/hls
PLAIN := tests/conformance tests/control tests/test_layering.py tests/test_packaging.py

test-unit: setup-test ## unit and integration tests
	$(MAKE) -j2 --output-sync=target test-hls test-rtmp test-pure test-plain test-bench
	$(MAKE) coverage
	$(PYTEST) $(addprefix --ignore=,$(CORE) $(PLAIN))

# Branch coverage of the two sans-IO packages must be complete; the rest runs without a tracer.
test-core: setup-test ## the sans-IO core; 100 % branches of rtmpcore and hls
	$(MAKE) -j2 --output-sync=target test-hls test-rtmp
	$(MAKE) coverage

test-hls: setup-test
	$(PY) -m coverage run --data-file=.coverage.hls -m pytest tests/hls -q

test-rtmp: setup-test
	$(PY) -m coverage run --data-file=.coverage.rtmp -m pytest tests/native tests/rtmpcore -q

coverage:
	$(PY) -m coverage combine -q .coverage.hls .coverage.rtmp
	$(PY) -m coverage report

test-pure: setup-test ## the Python twins behind the whole core
	HEADRACE_PURE=1 $(PYTEST) $(CORE) -q

test-plain: setup-test ## what else knows no clock: the store, the conformance checker, the packages
	$(PYTEST) $(PLAIN) -q

test-bench: setup-test ## every benchmark once, for an instant: that it runs
	$(PYTEST) tests/bench -m bench --benchmark-disable -q

# What is judged is pace, on a machine that others may use too: a failure must be seen twice. The
# summary names what was seen once.
E2E := $(PYTEST) tests/e2e --reruns 1 -rR

test-e2e: setup-test ## real OBS, ffmpeg and Chromium
	HEADRACE_E2E_SECONDS=20 $(E2E) -m "e2e and not long"

test-long: setup-test ## what `make test` leaves out: failures, interruptions, every player, conformance
	HEADRACE_E2E_SECONDS=20 $(E2E) -m "e2e and long"

soak: setup-test ## all of end to end at full length: a minute a player, OBS for ten; some forty minutes
	HEADRACE_E2E_SECONDS=600 HEADRACE_PLAYERS_SECONDS=60 HEADRACE_CONFORMANCE_SECONDS=600 \
	  $(E2E) -m e2e

soak-ladder: setup-test ## ten minutes of eight publishers with ladders, judged picture by picture
	HEADRACE_LADDER_SECONDS=600 $(PYTEST) tests/e2e/test_ladder_alignment.py -m e2e -s

conformance: setup-test ## check any live broadcast: make conformance URL=... [ARGS="--seconds 600 --wait-end 60"]
	$(PY) -m tests.conformance $(URL) $(ARGS)

bench: setup-test ## benchmarks; run alone on the machine
	$(PYTEST) tests/bench -m bench -s --benchmark-columns=min,median,stddev,rounds

bench-delivery: setup-test ## delivery against nginx and a bare C server; run alone on the machine
	$(PYTEST) tests/bench/test_bench_delivery.py -m bench -s -q

bench-chat: setup-test ## ten thousand people in a room against a bare send loop; run alone on the machine
	$(PYTEST) tests/bench/test_bench_room.py -m bench -s -q

flame: setup-test ## draw docs/delivery.svg anew (Debian: linux-perf)
	$(PY) tests/bench/yardstick/flame.py docs/delivery.svg

FUZZ_SECONDS ?= 10

fuzz: setup-test ## fuzz every target for FUZZ_SECONDS (10); a night is 600
	$(PY) -m fuzz.run --seconds $(FUZZ_SECONDS) --jobs 2

sanitize: setup-test ## the extensions under AddressSanitizer and UndefinedBehaviorSanitizer
	tools/sanitize.sh

check: setup-test ## lint, format, spelling, types; changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/codespell -q 3
	$(PY) -m mypy

fix: setup-test ## what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:          ## everything that set-up and tests made
	rm -rf .venv build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	  edge/web/node_modules edge/web/vendor native/*.so native/*.c test-artifacts
